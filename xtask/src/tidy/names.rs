//! Names that say nothing: drawers for anything, and getters.

use syn::visit::{self, Visit};

use super::{Breach, Parsed};

/// A type whose name ends like this is a drawer: name what it does instead.
const EMPTY_SUFFIXES: &[&str] =
    &["Manager", "Helper", "Helpers", "Util", "Utils", "Common", "Base"];

/// A module with this name is the same drawer.
const EMPTY_MODULES: &[&str] = &["helpers", "helper", "util", "utils", "common", "misc"];

pub(super) fn check(parsed: &Parsed<'_>) -> Vec<Breach> {
    let mut visitor = Names { parsed, breaches: Vec::new() };
    visitor.visit_file(&parsed.syntax);
    visitor.breaches
}

struct Names<'a> {
    parsed: &'a Parsed<'a>,
    breaches: Vec<Breach>,
}

impl Names<'_> {
    fn type_name(&mut self, ident: &syn::Ident) {
        let name = ident.to_string();
        if let Some(suffix) = EMPTY_SUFFIXES.iter().find(|suffix| name.ends_with(*suffix)) {
            self.add(ident, format!("`{name}`: `{suffix}` says nothing about what it does"));
        }
    }

    fn function_name(&mut self, ident: &syn::Ident) {
        let name = ident.to_string();
        if let Some(rest) = name.strip_prefix("get_") {
            self.add(ident, format!("`{name}`: leave `get_` out, `{rest}` is enough"));
        }
    }

    fn add(&mut self, ident: &syn::Ident, says: String) {
        self.breaches.push(Breach::at(self.parsed.file, ident.span().start().line, says));
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.type_name(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.type_name(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.type_name(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.type_name(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        if EMPTY_MODULES.contains(&name.as_str()) {
            self.add(&item.ident, format!("module `{name}`: name what is in it"));
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.function_name(&signature.ident);
        visit::visit_signature(self, signature);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::judge;
    use super::*;

    #[test]
    fn names_that_say_something_are_fine() {
        let text =
            "struct Sealed; struct Based; enum Outcome {} fn gets() {} fn key() {} mod rbac {}";
        assert!(judge(check, text).is_empty());
    }

    #[test]
    fn drawers_are_not() {
        for suffix in EMPTY_SUFFIXES {
            for item in [
                format!("struct Key{suffix};"),
                format!("enum Key{suffix} {{}}"),
                format!("trait Key{suffix} {{}}"),
                format!("type Key{suffix} = u8;"),
            ] {
                assert_eq!(judge(check, &item).len(), 1, "{item}");
            }
        }
        assert_eq!(judge(check, "mod utils {}").len(), 1);
    }

    #[test]
    fn getters_are_not() {
        assert_eq!(judge(check, "fn get_key() {}").len(), 1);
        assert_eq!(judge(check, "impl A { fn get_key(&self) {} }").len(), 1);
        assert_eq!(judge(check, "trait A { fn get_key(&self); }").len(), 1);
    }
}
