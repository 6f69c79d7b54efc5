//! What rcache knows about compiler options: one row each, found by name or by prefix.
//!
//! The table is an allow-list. An option without a row makes a call uncacheable, so that an option
//! of a newer compiler that writes a file, or reads one, is never cached by accident.

mod table;

#[cfg(test)]
mod tests;

use crate::outcome::Counter;
use crate::part::PartKind;

pub use table::TABLE;

/// Which option syntax a compiler driver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// GNU Compiler Collection.
    Gcc,
    /// LLVM's clang, with its GNU-like driver.
    Clang,
}

/// How an option and its operand are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The name alone.
    Flag,
    /// The operand follows in the same word, and may be empty.
    Joined,
    /// The operand follows in the same word; if that is at its end, it is the next word.
    JoinedOrSeparate,
    /// The operand is the next word.
    Separate,
}

/// How far a call compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// `-c`: to an object file.
    Object,
    /// A header: to its precompiled form.
    Precompiled,
    /// `-S`: to assembly text.
    Assembly,
    /// `-fsyntax-only`: diagnostics only.
    SyntaxOnly,
}

/// The options that ask for and shape a dependency file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepfileOption {
    /// `-MD`.
    AllHeaders,
    /// `-MMD`.
    UserHeaders,
    /// `-MF`.
    File,
    /// `-MT` and `-MQ`.
    Target,
    /// `-MP`.
    PhonyTargets,
}

/// The options for gcc's C++20 modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleOption {
    /// `-fmodules-ts`.
    On,
    /// `-fmodule-mapper=`: where the files of modules are.
    Mapper,
    /// `-fdeps-format=`: beside the dependency file, one that tells which modules the source provides.
    Format,
}

/// The options for debug information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debug {
    /// Switches it on.
    On,
    /// Switches it off.
    Off,
    /// Shapes it; does not switch it on by itself in every version.
    Detail,
    /// `-gsplit-dwarf`.
    Split,
}

/// Options that hand their operand to one tool, each of which has its own allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The assembler.
    Assembler,
    /// The preprocessor.
    Preprocessor,
    /// clang's `-cc1`.
    Frontend,
    /// LLVM's own options.
    Llvm,
}

/// What an option does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It shapes the outputs, and its words say how.
    Counts,
    /// As `Counts`, where the operand is one of these; other operands write files.
    Values(&'static [&'static str]),
    /// `-W…`: counts; it can print something unless it is a `-Wno-…`.
    Warning,
    /// It picks the target machine or the tools that run.
    Target,
    /// `-arch`: a second one would ask for a second compilation.
    Arch,
    /// It changes where include files are looked for.
    Search,
    /// It defines or undefines a macro.
    Macro,
    /// It reads a file before the source.
    ForcedInclude,
    /// It reads a precompiled header before the source.
    Precompiled,
    /// C++20 modules, by gcc; clang's are not cached.
    Module(ModuleOption),
    /// It shapes linking. It counts nevertheless: clang warns about those that it does not use.
    Link,
    /// It changes no output.
    Neutral,
    /// It forces or forbids colour or links in diagnostics.
    Colour,
    /// Debug information.
    Debug(Debug),
    /// The output names this folder where it would name the working directory.
    CompilationDirectory,
    /// A further output file, named after the output.
    Side(PartKind),
    /// A further output file: the operand.
    SideFile(PartKind),
    /// `-save-temps`.
    SaveTemps {
        /// In the folder of the output, where clang would else take the working directory.
        beside_output: bool,
    },
    /// Link-time optimisation.
    Lto,
    /// `-emit-llvm`.
    Bitcode,
    /// The operand is a file whose content counts.
    ReadFile,
    /// A profile is read: the operand, or one with a name that follows from it and the output's.
    Profile,
    /// Where a profile is read from, and where the program writes its own.
    ProfileFolder,
    /// What is left out of a profile's name.
    ProfilePrefix,
    /// An argument of a plugin.
    PluginArgument,
    /// It shapes what is printed about includes and how a text is printed: nothing that a text holds.
    Listing,
    /// The source is preprocessed already.
    Preprocessed,
    /// Dependency output.
    Depfile(DepfileOption),
    /// How far to compile.
    Phase(Phase),
    /// `-o`.
    Output,
    /// `-x`.
    Language,
    /// Words for another tool.
    Payload(Payload),
    /// `-frandom-seed`.
    RandomSeed,
    /// Not cached.
    Refuse(Counter),
}

/// Flags of a row.
pub type Traits = u16;

/// Outputs can depend on more than the preprocessed tokens: on columns, comments, or which macro a
/// token came from.
pub const POSITION: Traits = 1;
/// Outputs name the working directory.
pub const DIRECTORY: Traits = 1 << 1;
/// Outputs name the output file.
pub const OUTPUT_NAME: Traits = 1 << 2;
/// The compilation cannot be done on another machine.
pub const LOCAL: Traits = 1 << 3;
/// The operand is the name of a file or folder.
pub const PATH: Traits = 1 << 4;
/// Only gcc has it.
pub const GCC: Traits = 1 << 5;
/// Only clang has it.
pub const CLANG: Traits = 1 << 6;
/// The output holds the command line: all words count, and none may be added.
pub const RECORD: Traits = 1 << 7;
/// The operand `native` stands for this machine's processor.
pub const NATIVE: Traits = 1 << 8;
/// A refused option whose `-fno-` form only confirms the default.
pub const OFF_IS_HARMLESS: Traits = 1 << 9;

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name as it is spelled, with its hyphens.
    pub name: &'static str,
    /// Where its operand is.
    pub shape: Shape,
    /// What it does.
    pub effect: Effect,
    /// Flags.
    pub traits: Traits,
}

impl Row {
    const fn new(name: &'static str, shape: Shape) -> Row {
        Row { name, shape, effect: Effect::Counts, traits: 0 }
    }

    const fn does(self, effect: Effect) -> Row {
        Row { effect, ..self }
    }

    const fn with(self, traits: Traits) -> Row {
        Row { traits, ..self }
    }

    /// Whether the row has any of these flags.
    pub const fn has(&self, traits: Traits) -> bool {
        self.traits & traits != 0
    }

    /// Whether a call with this option may be compiled on another machine.
    pub const fn remote(&self) -> bool {
        !self.has(LOCAL) && !matches!(self.effect, Effect::Refuse(_))
    }

    fn known_to(&self, family: Family) -> bool {
        match family {
            Family::Gcc => !self.has(CLANG),
            Family::Clang => !self.has(GCC),
        }
    }
}

const fn flag(name: &'static str) -> Row {
    Row::new(name, Shape::Flag)
}

const fn joined(name: &'static str) -> Row {
    Row::new(name, Shape::Joined)
}

const fn separate(name: &'static str) -> Row {
    Row::new(name, Shape::Separate)
}

const fn either(name: &'static str) -> Row {
    Row::new(name, Shape::JoinedOrSeparate)
}

/// A word that the table knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its row.
    pub row: &'static Row,
    /// Where in the word the operand starts; `None` where there is none, or it is the next word.
    pub operand_at: Option<usize>,
    /// Whether the operand is the next word.
    pub takes_next: bool,
    /// Whether it is the `-fno-`, `-mno-` or `-gno-` form of the row's name.
    pub negated: bool,
}

/// Finds the row of `word`, which starts with `-`. The longest name wins, and an exact name wins
/// over its being the negative of another.
pub fn lookup(word: &[u8], family: Family) -> Option<Match> {
    lookup_spelled(word, family).or_else(|| {
        let positive = positive_form(word)?;
        let shift = word.len() - positive.len();
        let found = lookup_spelled(&positive, family)?;
        let can_be_negated = matches!(found.row.shape, Shape::Flag | Shape::Joined)
            && (!matches!(found.row.effect, Effect::Refuse(_)) || found.row.has(OFF_IS_HARMLESS));
        can_be_negated.then(|| Match {
            operand_at: found.operand_at.map(|start| start + shift),
            negated: true,
            ..found
        })
    })
}

/// `-fX` for `-fno-X`, and the same for `-m` and `-g`.
fn positive_form(word: &[u8]) -> Option<Vec<u8>> {
    let group = *word.get(1)?;
    if !b"fmg".contains(&group) || word.get(2..5) != Some(b"no-") {
        return None;
    }
    Some([&word[..2], &word[5..]].concat())
}

fn lookup_spelled(word: &[u8], family: Family) -> Option<Match> {
    for length in (1..=word.len()).rev() {
        let prefix = &word[..length];
        let Ok(at) = TABLE.binary_search_by(|row| row.name.as_bytes().cmp(prefix)) else {
            continue;
        };
        let row = &TABLE[at];
        let whole = length == word.len();
        let fits = match row.shape {
            Shape::Flag | Shape::Separate => whole,
            Shape::Joined | Shape::JoinedOrSeparate => true,
        };
        if !fits || !row.known_to(family) {
            continue;
        }
        let takes_next =
            row.shape == Shape::Separate || row.shape == Shape::JoinedOrSeparate && whole;
        let operand_at = (row.shape != Shape::Flag && !takes_next).then_some(length);
        return Some(Match { row, operand_at, takes_next, negated: false });
    }
    None
}
