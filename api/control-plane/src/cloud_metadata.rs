//! The cloud's description of itself: what `az cloud register` reads to find everything else.

use serde_json::{Value, json};

use crate::settings::ControlPlaneSettings;

/// The api-version that is followed when none is named.
const NEWEST: &str = "2022-09-01";

/// The metadata in the shape of the asked api-version: since 2022-09-01 one object, from
/// 2018-05-01 to 2020-06-01 an array of clouds, and before that the short form of 2015-01-01.
pub(crate) fn describe(
    settings: &ControlPlaneSettings,
    base_url: &str,
    api_version: Option<&str>,
) -> Value {
    let api_version = api_version.unwrap_or(NEWEST);
    let full = full(settings, base_url);
    // Versions are dates: their order is that of their text.
    if api_version >= NEWEST {
        full
    } else if api_version >= "2018" {
        Value::Array(vec![full])
    } else {
        json!({
            "galleryEndpoint": format!("{base_url}/gallery"),
            "graphEndpoint": format!("{base_url}/graph"),
            "portalEndpoint": base_url,
            "authentication": {
                "loginEndpoint": base_url,
                "audiences": [settings.audience],
            },
        })
    }
}

fn full(settings: &ControlPlaneSettings, base_url: &str) -> Value {
    let graph = format!("{base_url}/graph");
    json!({
        "name": settings.cloud_name,
        "portal": base_url,
        "gallery": format!("{base_url}/gallery"),
        "graph": graph,
        "graphAudience": graph,
        "microsoftGraphResourceId": graph,
        "resourceManager": base_url,
        "authentication": {
            "loginEndpoint": base_url,
            "audiences": [settings.audience],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {
            "mhsmDns": settings.managed_hsm_suffix,
            "keyVaultDns": settings.key_vault_suffix,
            "storage": settings.storage_suffix.trim_start_matches('.'),
        },
    })
}
