//! Which cryptographic module this is, in words for whoever has to know what is validated.

/// What is validated and what is not. With the feature `fips` the module is AWS-LC's validated
/// branch, and it says itself whether it runs as such.
#[must_use]
pub fn about_module() -> &'static str {
    if !cfg!(feature = "fips") {
        return "AWS-LC, its ordinary build: NOT a validated module (build with --features fips for \
                one); k256, rsa, aes-kw and argon2 beside it: not validated";
    }
    match aws_lc_rs::try_fips_mode() {
        Ok(()) => {
            "AWS-LC FIPS module, in FIPS mode: validated as its maker's certificate says. NOT \
             validated: P-256K signing (k256), RSNULL (rsa), 192-bit key wrap (aes-kw), passphrase \
             seals (argon2), signing of a caller's digest as a service, and this program as a whole"
        }
        Err(_) => "AWS-LC FIPS build that is NOT in FIPS mode: nothing is validated",
    }
}

/// With the feature `fips`, whether the module runs as the validated one; without it there is
/// nothing to ask.
pub(crate) fn is_as_built() -> bool {
    !cfg!(feature = "fips") || aws_lc_rs::try_fips_mode().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_was_built() {
        let claims = about_module().starts_with("AWS-LC FIPS module, in FIPS mode");
        assert_eq!(claims, cfg!(feature = "fips"));
        assert!(about_module().contains("NOT"));
        assert!(is_as_built());
    }
}
