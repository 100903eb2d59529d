//! What a destination that was let through must look like, spelled out independently of the policy: for these tests, and
//! for the fuzzer of connection strings.

/// The account of Azure Storage whose blobs have this URL, if they are one's.
pub fn azure_account(url: &str) -> Option<&str> {
    let host = url.strip_prefix("https://")?.strip_suffix('/')?;
    let suffixes = [
        ".blob.core.windows.net",
        ".blob.storage.azure.net",
        ".blob.core.usgovcloudapi.net",
        ".blob.core.chinacloudapi.cn",
    ];
    let labels = suffixes.iter().find_map(|suffix| host.strip_suffix(suffix))?;
    let (name, zone) = labels.split_at(labels.find('.').unwrap_or(labels.len()));
    let named = name.len() >= 3 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let placed = zone.is_empty() || (zone.len() == 4 && zone.starts_with(".z"));
    (named && placed).then_some(name)
}
