//! Lints are not switched off, and tests are not switched off.
//!
//! An exception is `#[expect(lint, reason = "…")]` at the spot: it says why, and it becomes an
//! error itself once it is no longer needed.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Breach, Parsed};

pub(super) fn check(parsed: &Parsed<'_>) -> Vec<Breach> {
    let mut visitor = Attributes { parsed, breaches: Vec::new() };
    visitor.visit_file(&parsed.syntax);
    visitor.breaches
}

struct Attributes<'a> {
    parsed: &'a Parsed<'a>,
    breaches: Vec<Breach>,
}

impl<'ast> Visit<'ast> for Attributes<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let Some(says) = fault(&attribute.meta) {
            let line = attribute.span().start().line;
            self.breaches.push(Breach::at(self.parsed.file, line, says));
        }
        visit::visit_attribute(self, attribute);
    }
}

fn fault(meta: &syn::Meta) -> Option<&'static str> {
    let path = meta.path();
    if path.is_ident("allow") {
        return Some("`allow`: use `#[expect(lint, reason = \"…\")]` at the spot");
    }
    if path.is_ident("ignore") {
        return Some("a test that does not run proves nothing");
    }
    if path.is_ident("expect") && !has_reason(meta) {
        return Some("`expect` without a reason");
    }
    None
}

fn has_reason(meta: &syn::Meta) -> bool {
    let syn::Meta::List(list) = meta else { return false };
    list.tokens.clone().into_iter().any(|token| match token {
        proc_macro2::TokenTree::Ident(ident) => ident == "reason",
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::judge;
    use super::*;

    #[test]
    fn an_expectation_with_a_reason_is_fine() {
        let text = "#[expect(dead_code, reason = \"why\")] fn a() {} #[test] fn b() {}";
        assert!(judge(check, text).is_empty());
    }

    #[test]
    fn an_expectation_without_a_reason_is_not() {
        assert_eq!(judge(check, "#[expect(dead_code)] fn a() {}").len(), 1);
    }

    #[test]
    fn allowing_is_not_fine_anywhere() {
        assert_eq!(judge(check, "#![allow(dead_code)]").len(), 1);
        assert_eq!(judge(check, "#[allow(dead_code)] fn a() {}").len(), 1);
        assert_eq!(judge(check, "struct A { #[allow(dead_code)] a: u8 }").len(), 1);
    }

    #[test]
    fn a_test_is_not_switched_off() {
        let ignore = concat!("#[test] #[ig", "nore] fn a() {}");
        assert_eq!(judge(check, ignore).len(), 1);
        let with_reason = concat!("#[test] #[ig", "nore = \"slow\"] fn a() {}");
        assert_eq!(judge(check, with_reason).len(), 1);
    }
}
