//! The languages of a source file: by `-x`, or by the end of its name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::options::Family;

macro_rules! languages {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// What a source file is written in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Language { $($(#[$doc])* $variant,)* }

        impl Language {
            /// Every language.
            pub const ALL: &'static [Language] = &[$(Language::$variant,)*];

            /// The operand of `-x`, as gcc and clang both have it (the first where there are several).
            pub fn name(self) -> &'static str {
                match self { $(Language::$variant => $name,)* }
            }
        }
    };
}

languages! {
    /// C.
    C "c",
    /// C++.
    Cxx "c++",
    /// Objective-C.
    ObjC "objective-c",
    /// Objective-C++.
    ObjCxx "objective-c++",
    /// C, preprocessed.
    CPreprocessed "cpp-output",
    /// C++, preprocessed.
    CxxPreprocessed "c++-cpp-output",
    /// Objective-C, preprocessed.
    ObjCPreprocessed "objective-c-cpp-output",
    /// Objective-C++, preprocessed.
    ObjCxxPreprocessed "objective-c++-cpp-output",
    /// Assembly.
    Assembler "assembler",
    /// Assembly that wants preprocessing.
    AssemblerWithCpp "assembler-with-cpp",
}

/// What `-x` or a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A language that can be cached.
    Language(Language),
    /// A header in this language: compiling it makes a precompiled one.
    Header(Language),
    /// `-x none`: the name decides again.
    ByName,
}

impl Language {
    /// Whether the compiler preprocesses it.
    pub fn is_preprocessed_by_the_compiler(self) -> bool {
        !matches!(
            self,
            Language::CPreprocessed
                | Language::CxxPreprocessed
                | Language::ObjCPreprocessed
                | Language::ObjCxxPreprocessed
                | Language::Assembler
        )
    }

    /// Whether only the assembler sees it.
    pub fn is_assembly(self) -> bool {
        matches!(self, Language::Assembler | Language::AssemblerWithCpp)
    }

    /// What the language is after `-E`.
    pub fn preprocessed(self) -> Language {
        match self {
            Language::C => Language::CPreprocessed,
            Language::Cxx => Language::CxxPreprocessed,
            Language::ObjC => Language::ObjCPreprocessed,
            Language::ObjCxx => Language::ObjCxxPreprocessed,
            Language::AssemblerWithCpp => Language::Assembler,
            other => other,
        }
    }
}

/// The operand of `-x`; `None` where the language is not one that rcache knows.
pub(super) fn from_option(name: &[u8]) -> Option<Told> {
    match name {
        b"none" => Some(Told::ByName),
        b"objc-cpp-output" => Some(Told::Language(Language::ObjCPreprocessed)),
        b"objc++-cpp-output" => Some(Told::Language(Language::ObjCxxPreprocessed)),
        b"c-header" => Some(Told::Header(Language::C)),
        b"c++-header" => Some(Told::Header(Language::Cxx)),
        b"objective-c-header" => Some(Told::Header(Language::ObjC)),
        b"objective-c++-header" => Some(Told::Header(Language::ObjCxx)),
        _ => Language::ALL
            .iter()
            .find(|language| language.name().as_bytes() == name)
            .map(|&language| Told::Language(language)),
    }
}

/// By the end of the file's name: gcc/gcc.cc and clang's Types.cpp.
pub(super) fn from_name(source: &Path, family: Family, cxx_driver: bool) -> Option<Told> {
    let extension = extension(source.file_name()?)?;
    let gcc = family == Family::Gcc;
    let language = match extension {
        b"c" if cxx_driver => Language::Cxx,
        b"i" if cxx_driver => Language::CxxPreprocessed,
        b"c" => Language::C,
        b"i" => Language::CPreprocessed,
        b"cc" | b"cp" | b"cxx" | b"cpp" | b"c++" | b"C" | b"CPP" => Language::Cxx,
        b"CC" | b"CXX" | b"C++" if !gcc => Language::Cxx,
        b"ii" => Language::CxxPreprocessed,
        b"m" => Language::ObjC,
        b"mi" => Language::ObjCPreprocessed,
        b"mm" | b"M" => Language::ObjCxx,
        b"mii" => Language::ObjCxxPreprocessed,
        b"s" => Language::Assembler,
        b"S" => Language::AssemblerWithCpp,
        b"sx" if gcc => Language::AssemblerWithCpp,
        b"h" if !cxx_driver => return Some(Told::Header(Language::C)),
        b"h" | b"hh" | b"H" | b"hp" | b"hxx" | b"hpp" | b"HPP" | b"h++" | b"tcc" => {
            return Some(Told::Header(Language::Cxx));
        }
        _ => return None,
    };
    Some(Told::Language(language))
}

fn extension(name: &OsStr) -> Option<&[u8]> {
    let name = name.as_bytes();
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    Some(&name[dot + 1..])
}
