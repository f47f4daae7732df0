//! A storage account to which tokens may go.

use url::Url;

/// Longest address of a storage account, in bytes.
pub const ACCOUNT_BYTES_MAX: usize = 512;

/// Length of a container's name, in bytes, by Azure Blob's rule.
const CONTAINER_BYTES: std::ops::RangeInclusive<usize> = 3..=63;

/// The address that the containers of a storage account lie below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageAccount {
    /// Scheme, host and port.
    url: Url,
    /// What stands before the container where the account is no part of the host's name.
    path: Vec<String>,
}

impl StorageAccount {
    /// Reads an address; `None` if it is none, or not a safe one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = super::address(text, ACCOUNT_BYTES_MAX)?;
        let path = segments(&url);
        path.iter().all(|segment| is_plain(segment)).then_some(Self { url, path })
    }

    /// Whether this is the address of a container of the account: same scheme, host and port, and
    /// below its path one segment with a container's name.
    pub(crate) fn has_container(&self, url: &Url) -> bool {
        let is_same_place = url.scheme() == self.url.scheme()
            && url.host() == self.url.host()
            && url.port_or_known_default() == self.url.port_or_known_default();
        let path = segments(url);
        let Some((container, account)) = path.split_last() else { return false };
        is_same_place && account == self.path.as_slice() && is_container(container)
    }
}

fn segments(url: &Url) -> Vec<String> {
    let all = url.path_segments().into_iter().flatten();
    let mut all: Vec<String> = all.map(str::to_owned).collect();
    // What a slash at the end leaves.
    if all.last().is_some_and(String::is_empty) {
        all.pop();
    }
    all
}

fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_container(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    CONTAINER_BYTES.contains(&name.len()) && name.bytes().all(is_name)
}
