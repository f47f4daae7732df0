//! `unsafe` lives in two crates, and each use says why it is sound.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Breach, Parsed};

/// The crates that speak to the kernel in ways the safe wrappers lack.
const ALLOWED: &[&str] = &["node/harden/", "node/channel/"];

/// Lines above an `unsafe` in which its comment must begin.
const COMMENT_LINES_MAX: usize = 8;

pub(super) fn check(parsed: &Parsed<'_>) -> Vec<Breach> {
    let mut visitor = Unsafe { lines: Vec::new() };
    visitor.visit_file(&parsed.syntax);
    let allowed = ALLOWED.iter().any(|folder| parsed.file.path.starts_with(folder));
    let mut breaches = Vec::new();
    for line in visitor.lines {
        if !allowed {
            let says = "`unsafe` is allowed in node/harden and node/channel alone";
            breaches.push(Breach::at(parsed.file, line, says));
        } else if !is_explained(&parsed.file.text, line) {
            breaches.push(Breach::at(parsed.file, line, "`unsafe` without a SAFETY comment"));
        }
    }
    breaches
}

fn is_explained(text: &str, line: usize) -> bool {
    let first = line.saturating_sub(COMMENT_LINES_MAX + 1);
    let mut above = text.lines().skip(first).take(line - first);
    above.any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

struct Unsafe {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_expr_unsafe(&mut self, item: &'ast syn::ExprUnsafe) {
        self.lines.push(item.unsafe_token.span().start().line);
        visit::visit_expr_unsafe(self, item);
    }

    fn visit_signature(&mut self, item: &'ast syn::Signature) {
        if let syn::Safety::Unsafe(token) = &item.safety {
            self.lines.push(token.span().start().line);
        }
        visit::visit_signature(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.lines.extend(item.unsafety.iter().map(|token| token.span().start().line));
        visit::visit_item_impl(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.lines.push(item.abi.span().start().line);
        visit::visit_item_foreign_mod(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{file, judge};
    use super::*;

    const BLOCK: &str = "fn a() {\n    // SAFETY: it is.\n    unsafe { b() }\n}";

    #[test]
    fn safe_code_is_fine_everywhere() {
        assert!(judge(check, "fn a() {}").is_empty());
    }

    #[test]
    fn other_crates_must_not_even_with_a_reason() {
        assert_eq!(judge(check, BLOCK).len(), 1);
        assert_eq!(judge(check, "unsafe fn a() {}").len(), 1);
        assert_eq!(judge(check, "unsafe impl Send for A {}").len(), 1);
        assert_eq!(judge(check, "unsafe extern \"C\" {}").len(), 1);
    }

    #[test]
    fn the_allowed_crates_must_explain() {
        let explain = |text: &str| {
            let file = file("node/harden/src/dumps.rs", text);
            check(&Parsed::new(&file).expect("Rust")).len()
        };
        assert_eq!(explain(BLOCK), 0);
        assert_eq!(explain("fn a() { unsafe { b() } }"), 1);
        assert_eq!(explain("// SAFETY: far away\n\n\n\n\n\n\n\n\n\nunsafe impl Send for A {}"), 1);
    }
}
