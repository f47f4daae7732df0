//! Words of a command line that `az` takes for what they are.
//!
//! A shell's quotes are not enough: `az` takes a word that begins with `-` for an option, and of a
//! word that begins with `@`, or has `@` behind its first `=`, it reads the file that is named
//! there. In `--option=VALUE` a value may begin with `-`, and only one that begins with `@` is
//! taken for a file.

use serde_json::{Map, Value};

use crate::legible::is_legible;

/// `--option=VALUE` as one word for a shell; none if `az` would read a file, or if a person could
/// not see what is in it.
pub(crate) fn option(name: &str, value: &str) -> Option<String> {
    let is_file = value.starts_with('@');
    (!is_file && is_legible(value)).then(|| quoted(&format!("{name}={value}")))
}

/// The option for all tags, or the first tag that `az` cannot be given.
pub(crate) fn tags(tags: &Map<String, Value>) -> Result<Option<String>, &str> {
    let pairs: Vec<(&str, &str)> = tags
        .iter()
        .map(|(name, value)| {
            value.as_str().map(|value| (name.as_str(), value)).ok_or(name.as_str())
        })
        .collect::<Result<_, _>>()?;
    match pairs.as_slice() {
        [] => Ok(None),
        // What `--tags=` takes is one tag.
        [(name, value)] if is_split_there(name) => {
            option("--tags", &format!("{name}={value}")).map(Some).ok_or(name)
        }
        pairs => {
            let words = pairs.iter().map(|(name, value)| tag(name, value).ok_or(*name));
            let words: Vec<String> = words.collect::<Result<_, _>>()?;
            Ok(Some(format!("--tags {}", words.join(" "))))
        }
    }
}

/// A tag as a word of its own.
fn tag(name: &str, value: &str) -> Option<String> {
    let is_taken = is_split_there(name) && !name.starts_with(['-', '@']) && !value.starts_with('@');
    let word = format!("{name}={value}");
    (is_taken && is_legible(&word)).then(|| quoted(&word))
}

/// `az` parts a tag at its first `=`.
fn is_split_there(name: &str) -> bool {
    !name.is_empty() && !name.contains('=')
}

/// As one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: Value) -> Result<Option<String>, String> {
        let Value::Object(map) = value else { panic!("{value}") };
        tags(&map).map_err(str::to_owned)
    }

    #[test]
    fn a_value_is_no_option_and_no_file() {
        assert_eq!(option("--role", "-x").unwrap(), "'--role=-x'");
        assert_eq!(option("--role", "--help").unwrap(), "'--role=--help'");
        assert_eq!(option("--role", "a=@b").unwrap(), "'--role=a=@b'");
        assert_eq!(option("--role", "it's $(x) `y`").unwrap(), r"'--role=it'\''s $(x) `y`'");
        for none in ["@", "@/etc/passwd", "@-", "a\nb", "\u{1b}[2J", "a\u{202e}"] {
            assert_eq!(option("--role", none), None, "{none:?}");
        }
    }

    #[test]
    fn one_tag_is_bound_to_its_option() {
        assert_eq!(of(json!({})), Ok(None));
        for (tag, word) in [
            (json!({"team": "@/etc/passwd"}), "'--tags=team=@/etc/passwd'"),
            (json!({"-x": "y"}), "'--tags=-x=y'"),
            (json!({"--name": "other"}), "'--tags=--name=other'"),
            (json!({"team": "a=b"}), "'--tags=team=a=b'"),
            (json!({"team": ""}), "'--tags=team='"),
        ] {
            assert_eq!(of(tag).unwrap().unwrap(), word);
        }
        let none = [
            json!({"@/etc/passwd": "x"}),
            json!({"a=b": "c"}),
            json!({"a": 1}),
            json!({"": "x"}),
            json!({"a": "x\ny"}),
            json!({"a\u{7f}": "x"}),
        ];
        for none in none {
            assert!(of(none.clone()).is_err(), "{none}");
        }
    }

    #[test]
    fn of_many_tags_none_is_an_option_or_a_file() {
        let good = of(json!({"team": "it's ours", "cost": "-1", "mail": "a@b"}));
        assert_eq!(good.unwrap().unwrap(), r"--tags 'cost=-1' 'mail=a@b' 'team=it'\''s ours'");
        for (name, value) in [
            ("file", json!("@/etc/passwd")),
            ("file", json!("@-")),
            ("-x", json!("y")),
            ("--name", json!("other")),
            ("@/etc/passwd", json!("y")),
            ("a=b", json!("c")),
            ("", json!("c")),
            ("n", json!(1)),
            ("n", json!(null)),
            ("esc", json!("\u{1b}]0;x\u{7}")),
        ] {
            let mut map = Map::new();
            map.insert("team".to_owned(), json!("ours"));
            map.insert(name.to_owned(), value);
            assert_eq!(of(Value::Object(map)), Err(name.to_owned()), "{name}");
        }
    }
}
