//! How long a function may be, from its signature to its closing brace.
//!
//! Counted in the parsed file, so that nothing hides in a macro-free corner of the text; what a
//! macro writes is not seen.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Breach, Parsed};

const FUNCTION_LINES_MAX: usize = 70;

pub(super) fn check(parsed: &Parsed<'_>) -> Vec<Breach> {
    let mut visitor = Functions { parsed, breaches: Vec::new() };
    visitor.visit_file(&parsed.syntax);
    visitor.breaches
}

struct Functions<'a> {
    parsed: &'a Parsed<'a>,
    breaches: Vec<Breach>,
}

impl Functions<'_> {
    fn judge(&mut self, signature: &syn::Signature, end: Span) {
        let first = signature.span().start().line;
        let lines = (end.end().line + 1).saturating_sub(first);
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            let says =
                format!("`{name}` has {lines} lines; a function has at most {FUNCTION_LINES_MAX}");
            self.breaches.push(Breach::at(self.parsed.file, first, says));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.judge(&item.sig, item.block.brace_token.span.close());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.judge(&item.sig, item.block.brace_token.span.close());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.judge(&item.sig, block.brace_token.span.close());
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::judge;
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_at_the_limit_is_fine() {
        assert!(judge(check, &function(FUNCTION_LINES_MAX)).is_empty());
    }

    #[test]
    fn one_line_more_is_too_much() {
        let says = judge(check, &function(FUNCTION_LINES_MAX + 1));
        assert_eq!(
            says,
            ["hsm/core/src/sample.rs:1: `long` has 71 lines; a function has at most 70"]
        );
    }

    #[test]
    fn methods_and_inner_functions_are_counted_too() {
        let long = function(FUNCTION_LINES_MAX + 1);
        assert_eq!(judge(check, &format!("impl A {{ {long} }}")).len(), 1);
        assert_eq!(judge(check, &format!("trait A {{ {long} }}")).len(), 1);
        assert_eq!(judge(check, &format!("mod a {{ fn b() {{ {long} }} }}")).len(), 2);
    }

    #[test]
    fn attributes_and_comments_above_do_not_count() {
        let text = format!("/// a\n/// b\n#[test]\n{}", function(FUNCTION_LINES_MAX));
        assert!(judge(check, &text).is_empty());
    }
}
