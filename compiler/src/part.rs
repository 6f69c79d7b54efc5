//! The parts of a result: what a compile leaves behind, and what is remembered of it.

/// What one part of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PartKind {
    /// The object file, or the assembly text of `-S`.
    Object = 1,
    /// The make rule of `-MD` and `-MMD`.
    Depfile = 2,
    /// `-gsplit-dwarf`.
    Dwo = 3,
    /// `-ftest-coverage`.
    Gcno = 4,
    /// `-fstack-usage`.
    StackUsage = 5,
    /// `-fcallgraph-info`.
    CallgraphInfo = 6,
    /// What `-Wa,-a` lists.
    Listing = 7,
    /// `-fsave-optimization-record`.
    OptimizationRecord = 8,
    /// `-ftime-trace`.
    TimeTrace = 9,
    /// `--serialize-diagnostics`.
    Diagnostics = 10,
    /// `-MJ`.
    CompilationEntry = 11,
    /// The text of `-save-temps`.
    SavedText = 12,
    /// The assembly of `-save-temps`.
    SavedAssembly = 13,
    /// The bitcode of `-save-temps`.
    SavedBitcode = 14,
    /// `-aux-info`.
    Prototypes = 15,
    /// What the compiler wrote to standard output.
    Stdout = 16,
    /// What the compiler wrote to standard error.
    Stderr = 17,
    /// What `-fdeps-format=` tells.
    ModuleDependencies = 19,
    /// The interface of a module.
    ModuleInterface = 20,
    /// The facts about a result that the daemon needs besides its files (see `facts.rs`).
    Facts = 18,
    /// A manifest (see `manifest.rs`).
    Manifest = 32,
    /// The readable fields of a source key, for `rcache explain`.
    KeyFields = 33,
    /// What a precompiled header is made of.
    Recipe = 34,
}

impl PartKind {
    /// Every kind.
    pub const ALL: &'static [PartKind] = &[
        PartKind::Object,
        PartKind::Depfile,
        PartKind::Dwo,
        PartKind::Gcno,
        PartKind::StackUsage,
        PartKind::CallgraphInfo,
        PartKind::Listing,
        PartKind::OptimizationRecord,
        PartKind::TimeTrace,
        PartKind::Diagnostics,
        PartKind::CompilationEntry,
        PartKind::SavedText,
        PartKind::SavedAssembly,
        PartKind::SavedBitcode,
        PartKind::Prototypes,
        PartKind::Stdout,
        PartKind::Stderr,
        PartKind::Facts,
        PartKind::ModuleDependencies,
        PartKind::ModuleInterface,
        PartKind::Manifest,
        PartKind::KeyFields,
        PartKind::Recipe,
    ];

    /// Its name in texts and file names.
    pub fn name(self) -> &'static str {
        match self {
            PartKind::Object => "object",
            PartKind::Depfile => "depfile",
            PartKind::Dwo => "dwo",
            PartKind::Gcno => "gcno",
            PartKind::StackUsage => "stack-usage",
            PartKind::CallgraphInfo => "callgraph-info",
            PartKind::Listing => "listing",
            PartKind::OptimizationRecord => "optimization-record",
            PartKind::TimeTrace => "time-trace",
            PartKind::Diagnostics => "diagnostics",
            PartKind::CompilationEntry => "compilation-entry",
            PartKind::SavedText => "saved-text",
            PartKind::SavedAssembly => "saved-assembly",
            PartKind::SavedBitcode => "saved-bitcode",
            PartKind::Prototypes => "prototypes",
            PartKind::Stdout => "stdout",
            PartKind::Stderr => "stderr",
            PartKind::ModuleDependencies => "module-dependencies",
            PartKind::ModuleInterface => "module-interface",
            PartKind::Facts => "facts",
            PartKind::Manifest => "manifest",
            PartKind::KeyFields => "key-fields",
            PartKind::Recipe => "recipe",
        }
    }

    /// The kind that is stored as this byte.
    pub fn from_byte(byte: u8) -> Option<PartKind> {
        PartKind::ALL.iter().copied().find(|&kind| kind as u8 == byte)
    }
}
