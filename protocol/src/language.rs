// SPDX-License-Identifier: Apache-2.0
//! The language that a peer says it is written in.

use serde::{Deserialize, Serialize};

use crate::scan;

/// By its byte in a binary header, by its name in a JSON header. What neither list knows reads as `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum LanguageCode {
    #[default]
    Java = 0,
    Cpp = 1,
    Dotnet = 2,
    Python = 3,
    Delphi = 4,
    Erlang = 5,
    Ruby = 6,
    #[serde(alias = "")]
    Other = 7,
    Http = 8,
    Go = 9,
    Php = 10,
    Oms = 11,
    Rust = 12,
    NodeJs = 13,
}

impl LanguageCode {
    pub(crate) const COUNT: i64 = Self::ALL.len() as i64;

    const ALL: [(LanguageCode, &'static str); 14] = [
        (Self::Java, "JAVA"),
        (Self::Cpp, "CPP"),
        (Self::Dotnet, "DOTNET"),
        (Self::Python, "PYTHON"),
        (Self::Delphi, "DELPHI"),
        (Self::Erlang, "ERLANG"),
        (Self::Ruby, "RUBY"),
        (Self::Other, "OTHER"),
        (Self::Http, "HTTP"),
        (Self::Go, "GO"),
        (Self::Php, "PHP"),
        (Self::Oms, "OMS"),
        (Self::Rust, "RUST"),
        (Self::NodeJs, "NODE_JS"),
    ];

    pub fn from_code(code: u8) -> Self {
        Self::ALL.get(code as usize).map_or(Self::Other, |(language, _)| *language)
    }

    /// As fastjson2 reads it: in any case, or its code; an unknown one is `Other`.
    pub fn from_name(name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        // As clients write it.
        if let Some((language, _)) = Self::ALL.iter().find(|(_, known)| known.as_bytes() == name) {
            return *language;
        }
        let code = scan::integer(name).and_then(|code| u8::try_from(code).ok());
        let position = code.map(usize::from).or_else(|| Self::ALL.iter().position(|(_, known)| scan::is_same_word(known.as_bytes(), name)));
        position.and_then(|at| Self::ALL.get(at)).map_or(Self::Other, |(language, _)| *language)
    }

    pub const fn code(self) -> u8 {
        self as u8
    }

    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_name_lead_back() {
        for (at, (language, name)) in LanguageCode::ALL.into_iter().enumerate() {
            assert_eq!((language.code() as usize, language.name()), (at, name));
            assert_eq!((LanguageCode::from_code(at as u8), LanguageCode::from_name(name)), (language, language));
            assert_eq!(serde_json::to_string(&language).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(LanguageCode::from_code(200), LanguageCode::Other);
        for (name, language) in
            [("COBOL", LanguageCode::Other), ("Go", LanguageCode::Go), ("nodejs", LanguageCode::NodeJs), ("12", LanguageCode::Rust)]
        {
            assert_eq!(LanguageCode::from_name(name), language);
        }
    }
}
