//! Destinations as an attacker would write them: families of tricks, combined.

use std::collections::BTreeSet;

pub const HONEST: [&str; 5] = [
    "BlobEndpoint=https://example.blob.core.windows.net/;SharedAccessSignature=sv=2021-06-08&sig=CANARY",
    "BlobEndpoint=https://example.z12.blob.storage.azure.net/;SharedAccessSignature=sig=CANARY",
    "DefaultEndpointsProtocol=https;AccountName=example;AccountKey=Q0FOQVJZ;EndpointSuffix=core.windows.net",
    "AccountName=example;AccountKey=Q0FOQVJZ;EndpointSuffix=core.usgovcloudapi.net",
    "BlobEndpoint=https://example.blob.core.chinacloudapi.cn;SharedAccessSignature=?sig=CANARY",
];

const HOSTS: [&str; 72] = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[::a9fe:a9fe]",
    "[::ffff:169.254.169.254]",
    "[::ffff:0:127.0.0.1]",
    "[0:0:0:0:0:ffff:a83f:8110]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[fd20:ce::254]",
    "[v1.fe80::a]",
    "[::1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost.localdomain",
    "ip6-localhost",
    "169.254.169.254",
    "169.254.169.253",
    "2852039166",
    "0xA9FEA9FE",
    "168.63.129.16",
    "metadata.google.internal",
    "metadata",
    "10.0.0.4",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "kubernetes.default.svc",
    "wireserver",
    "127.0.0.1.nip.io",
    "evil.test",
    "blob.core.windows.net",
    ".blob.core.windows.net",
    "example.blob.core.windows.net.evil.test",
    "example.blob.core.windows.net.",
    "example..blob.core.windows.net",
    "a.b.c.blob.core.windows.net",
    "example-blob.core.windows.net",
    "example.blob.core.windows.net:443@evil.test",
    "evil.test:80#.blob.core.windows.net",
    "evil.test?.blob.core.windows.net",
    "evil.test/.blob.core.windows.net",
    "evil.test\\.blob.core.windows.net",
    "evil.test%2f.blob.core.windows.net",
    "evil.test%00.blob.core.windows.net",
    "xn--exmple-cua.blob.core.windows.net",
    "ｅxample.blob.core.windows.net",
    "example。blob。core。windows。net",
    "exаmple.blob.core.windows.net",
    "example.privatelink.blob.core.windows.net",
    "example.queue.core.windows.net",
    "ex_ample.blob.core.windows.net",
];

const SCHEMES: [&str; 9] =
    ["https://", "http://", "HTTPS://", "ftp://", "file://", "gopher://", "//", "https:/", "https:\\\\"];
const USERS: [&str; 4] = ["", "user@", "user:CANARY@", "example.blob.core.windows.net@"];
const ENDS: [&str; 11] =
    ["", "/", ":443/", ":8443/", ":22", "/../", "/%2e%2e/", "/container", "?x=CANARY", "#", "/;x=y"];

/// Characters that parsers skip, repair or stop at.
const ODD: [char; 16] =
    ['\0', '\t', '\n', '\r', ' ', '"', '<', '\\', '^', '`', '|', '\u{7f}', '\u{ad}', '\u{200b}', '\u{202e}', '％'];

/// Every URL of the families.
pub fn urls() -> BTreeSet<String> {
    let mut urls = BTreeSet::new();
    for host in HOSTS {
        for scheme in SCHEMES {
            urls.insert(format!("{scheme}{host}/"));
        }
        for user in USERS {
            for end in ENDS {
                urls.insert(format!("https://{user}{host}{end}"));
            }
        }
    }
    let honest = "https://example.blob.core.windows.net/";
    for at in 0..=honest.len() {
        for odd in ODD {
            let (before, after) = honest.split_at(at);
            urls.insert(format!("{before}{odd}{after}"));
        }
    }
    urls
}

/// Connection strings that name them, and those whose grammar is the trick.
pub fn destinations() -> BTreeSet<String> {
    let of_url = |url: &String| format!("BlobEndpoint={url};SharedAccessSignature=sv=2021-06-08&sig=CANARY");
    let mut all: BTreeSet<String> = urls().iter().map(of_url).collect();
    for host in HOSTS {
        all.insert(format!("AccountName=example;AccountKey=Q0FOQVJZ;EndpointSuffix={host}"));
        all.insert(format!("AccountName={host};AccountKey=Q0FOQVJZ"));
        all.insert(format!("AccountName=example;AccountKey=Q0FOQVJZ;BlobEndpoint=https://{host}/"));
        all.insert(format!("{};BlobEndpoint=https://{host}/", HONEST[0]));
        all.insert(format!("BlobEndpoint=https://{host}/;{}", HONEST[0]));
        all.insert(format!("{};blobendpoint=https://{host}/", HONEST[0]));
        all.insert(format!("{};Proxy=https://{host}/", HONEST[0]));
        all.insert(format!("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://{host}"));
    }
    for honest in HONEST {
        all.insert(honest.into());
        for odd in ODD {
            all.insert(format!("{honest}{odd}"));
            all.insert(format!("{odd}{honest}"));
            all.insert(honest.replace('=', &format!("={odd}")));
        }
        for cut in 0..honest.len() {
            all.insert(honest[..cut].into());
        }
    }
    all.extend(["", ";", "=", ";;=;", "UseDevelopmentStorage=true", "UseDevelopmentStorage=false"].map(String::from));
    all
}
