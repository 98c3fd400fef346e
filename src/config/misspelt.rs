// SPDX-License-Identifier: Apache-2.0
//! What a person may have meant by a word that nobody knows.

/// Letters that a misspelt word may be away from the one that was meant: one in this many of it, and one at least.
const LETTERS_PER_MISTAKE: usize = 5;

/// No word that anybody knows is so long, and the look is not for nothing: a client may send any.
const LETTERS_MAX: usize = 64;

/// The known word closest to `word`, if one is close. Upper and lower case are no difference.
pub fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = word.chars().take(LETTERS_MAX + 1).count();
    if letters > LETTERS_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    let most = (letters / LETTERS_PER_MISTAKE).max(1);
    let is_as_long = |name: &&str| name.chars().count().abs_diff(letters) <= most;
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    known.filter(is_as_long).map(|name| (distance(name), name)).filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_close_is_found_and_others_are_not() {
        let known = ["flushDiskType", "listenPort", "brokerIP1", "brokerIP2", "info"];
        let meant = |word| did_you_mean(word, known.into_iter());
        assert_eq!(meant("flushDiskTyp"), Some("flushDiskType"));
        assert_eq!(meant("lisenPort"), Some("listenPort"));
        assert_eq!(meant("listenport"), Some("listenPort"));
        assert_eq!(meant("brokerip1"), Some("brokerIP1"));
        assert_eq!(meant("inof"), Some("info"));
        assert_eq!(meant("nobodyKnows"), None);
        assert_eq!(meant(""), None);
        assert_eq!(did_you_mean(&"a".repeat(65), ["a".repeat(66).as_str()].into_iter()), None);
    }
}
