//! Settings.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// One setting.
#[derive(Debug, Serialize)]
pub struct Setting<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, always a string, also where `type` says `boolean`.
    pub value: &'a str,
    /// `boolean` or `string`.
    #[serde(rename = "type")]
    pub kind: &'a str,
}

/// All settings; there are no pages.
#[derive(Debug, Serialize)]
pub struct SettingsList<'a> {
    /// The settings.
    pub settings: Vec<Setting<'a>>,
}

/// Body of a setting's `PATCH`.
#[derive(Debug, Deserialize)]
pub struct UpdateSettingParameters<'a> {
    /// The value it shall have.
    #[serde(borrow)]
    pub value: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_string() {
        let read: UpdateSettingParameters<'_> =
            serde_json::from_str(r#"{"value":"true","type":"boolean"}"#).unwrap();
        assert_eq!(read.value, "true");
        for bad in ["{}", r#"{"value":true}"#, r#"{"value":null}"#, r#"{"Value":"true"}"#, "[]"] {
            assert!(serde_json::from_str::<UpdateSettingParameters<'_>>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_written_as_the_api_says() {
        let one = Setting { name: "A", value: "false", kind: "boolean" };
        let list = SettingsList { settings: vec![one] };
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            r#"{"settings":[{"name":"A","value":"false","type":"boolean"}]}"#
        );
    }
}
