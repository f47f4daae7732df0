//! How names look: none may be taken for another's by the eye. By Unicode Technical Standard 39,
//! with the tables of `unicode-security`.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::{
    GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection, skeleton,
};

/// Whether a text holds visible ASCII and spaces, and letters and digits that UTS 39 recommends, of
/// one script or of Latin beside Han, Kana, Hangul or Bopomofo ("highly restrictive"), composed.
/// Marks that nothing is composed with do not stand beside Latin letters.
pub(super) fn is_plain(text: &str) -> bool {
    let is_known = |c: char| match c.is_ascii() {
        true => c.is_ascii_graphic() || c == ' ',
        false => (c.is_alphanumeric() || is_combining_mark(c)) && c.identifier_allowed(),
    };
    let letters: String = text.chars().filter(|c| !c.is_ascii() || c.is_alphanumeric()).collect();
    let has_latin = text.contains(|c: char| c.is_ascii_alphabetic());
    text.chars().all(is_known)
        && text.nfc().eq(text.chars())
        && !(has_latin && text.contains(is_combining_mark))
        && letters.check_restriction_level(RestrictionLevel::HighlyRestrictive)
}

/// A text, ready to be compared with others by its looks.
#[derive(PartialEq, Eq)]
pub(super) struct Look {
    /// In which capital letters look alike,
    as_written: String,
    /// and in which small ones do.
    in_small: String,
}

impl Look {
    pub(super) fn of(text: &str) -> Self {
        let lean: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        let in_small = bones(&lean.to_lowercase());
        Self { as_written: bones(&lean).to_lowercase(), in_small }
    }

    /// Whether one may be taken for the other, in capitals or in small letters; accents, spaces and
    /// punctuation do not count. A text of these alone is like none.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        !self.as_written.is_empty()
            && (self.as_written == other.as_written || self.in_small == other.in_small)
    }
}

/// The skeleton of UTS 39, without marks.
fn bones(text: &str) -> String {
    skeleton(text).filter(|c| !is_combining_mark(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_not_plain() {
        for bad in [
            "Managed HSM Bac\u{212a}up User",
            "Managed HSM Administrator\u{200b}",
            "Managed\u{a0}HSM Administrator",
            "Managed HSM \u{202e}rotartsinimdA",
            "Managed HSM \u{430}dministrator",
            "\u{39c}anaged HSM Administrator",
            "\u{ff2d}anaged HSM Administrator",
            "Managed HSM Administrator\u{fe0f}",
            "Managed HSM Of\u{fb01}cer",
            "Managed HSM Adm\u{456}nistrator",
            "Managed HSM Administrato\u{2b3}",
            "Managed HSM Administrator\u{323}",
            "Managed HSM Administrator\u{336}",
            "e\u{301}",
            "Managed HSM Administrator\u{3002}",
            "Managed HSM Administrator\u{2024}",
            "\u{13aa}\u{13aa}",
            "a\u{ad}b",
            "a\u{e0041}b",
            "a\u{2028}b",
            "a\tb",
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        for good in [
            "\u{420}\u{43e}\u{43b}\u{44c} 7",
            "\u{7ba1}\u{7406} HSM",
            "Größe-1 (é)",
            "a b",
            "\u{939}\u{93f}\u{902}\u{926}\u{940}",
            "Team A: keys & more!",
            "",
        ] {
            assert!(is_plain(good), "{good:?}");
        }
    }

    #[test]
    fn what_looks_alike_is_like() {
        let like = |one: &str, other: &str| Look::of(one).is_like(&Look::of(other));
        let own = "Managed HSM Crypto User";
        for twin in [
            "managed hsm crypto user",
            "Managed HSM Crypto User.",
            "Managed-HSM_Crypto User",
            "ManagedHSM CryptoUser",
            "Managed HSM Cr\u{fd}pto User",
            "Managed HSM Crypto \u{1ee4}ser",
            "Managed HSM Crypt0 User",
            "Managed HSM Crypto U\u{455}er",
            "Managed HSM C\u{433}ypto User",
            "Managed HSM Crypto Uѕеr",
        ] {
            assert!(like(own, twin), "{twin:?}");
        }
        assert!(like("\u{421}\u{430}\u{440}\u{435}", "Cape"), "a whole other script");
        assert!(like("Team I", "Team l") && like("Team I", "TEAM i") && like("modern", "modem"));
        for other in ["Managed HSM Crypto Officer", "Managed HSM Crypto Users", "Crypto User", ""] {
            assert!(!like(own, other), "{other:?}");
        }
        assert!(!like("Team 2", "Team 3") && !like("?!", "?!") && !like("", ""));
    }
}
