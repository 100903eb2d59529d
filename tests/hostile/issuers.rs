//! What authorization servers publish is fetched from the hosts of the settings, and from no other, whatever they answer.

use std::time::Duration;

use fhir_export::azure::PublishedByIssuers;
use fhir_export::bulk::authority::{Authority, Authorization, Issuer, Plain};
use fhir_export::ports::{ErrorKind, Issuers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

/// Answers one request after the other with this.
async fn serving(answer: Vec<u8>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            // Who has heard enough hangs up.
            let _ = stream.write_all(&answer).await;
        }
    });
    url.parse().unwrap()
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
}

fn authority(issuer: &Url, plain: Plain) -> Authority {
    Authority {
        issuers: vec![Issuer { name: issuer.to_string(), keys: None }],
        audiences: vec!["a".into()],
        hosts: vec!["keys.example".into()],
        roles: Vec::new(),
        administrators: Vec::new(),
        skew: Duration::ZERO,
        token_endpoint: None,
        plain,
    }
}

async fn fetched(authority: Authority, url: &Url) -> Result<Vec<u8>, ErrorKind> {
    let issuers = PublishedByIssuers::new(&Authorization::Tokens(authority)).unwrap();
    issuers.document(url).await.map(|text| text.to_vec()).map_err(|error| error.kind)
}

#[tokio::test]
async fn a_document_is_fetched_whole() {
    let url = serving(answer("200 OK\r\nContent-Type: text/plain", b"{}")).await;
    assert_eq!(fetched(authority(&url, Plain::OnLoopback), &url).await, Ok(b"{}".to_vec()));
}

#[tokio::test]
async fn no_redirect_is_followed_and_nothing_too_large_is_read() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("302 Found\r\nLocation: http://{}/", trap.local_addr().unwrap());
    let large = answer("200 OK", &vec![b' '; 300 * 1024]);
    for (answer, expected) in [
        (answer(&location, b""), ErrorKind::Unavailable),
        (large, ErrorKind::Unreadable),
        (answer("404 Not Found", b"{}"), ErrorKind::NotFound),
        (answer("500 Oh", b"{}"), ErrorKind::Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}".to_vec(), ErrorKind::Unavailable),
        (b"nonsense".to_vec(), ErrorKind::Unavailable),
    ] {
        let url = serving(answer).await;
        assert_eq!(fetched(authority(&url, Plain::OnLoopback), &url).await, Err(expected));
    }
    let heard = tokio::time::timeout(Duration::from_millis(50), trap.accept()).await;
    assert!(heard.is_err(), "the redirect led somewhere");
}

#[tokio::test]
async fn only_the_hosts_of_the_settings_are_asked() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own: Url = format!("http://{}/", trap.local_addr().unwrap()).parse().unwrap();
    for (url, plain) in [
        (own.clone(), Plain::Never),
        (own.join("//localhost/keys").unwrap(), Plain::OnLoopback),
        ("http://keys.example/".parse().unwrap(), Plain::OnLoopback),
        ("https://other.example/".parse().unwrap(), Plain::OnLoopback),
        ("https://keys.example.evil.example/".parse().unwrap(), Plain::OnLoopback),
        ("https://user@keys.example/".parse().unwrap(), Plain::OnLoopback),
        ("https://169.254.169.254/".parse().unwrap(), Plain::OnLoopback),
        ("file:///etc/passwd".parse().unwrap(), Plain::OnLoopback),
    ] {
        assert_eq!(fetched(authority(&own, plain), &url).await, Err(ErrorKind::Denied), "{url}");
    }
    let nobody = PublishedByIssuers::new(&Authorization::Keys).unwrap();
    assert_eq!(nobody.document(&own).await.unwrap_err().kind, ErrorKind::Denied, "where no token is asked for");
    let heard = tokio::time::timeout(Duration::from_millis(50), trap.accept()).await;
    assert!(heard.is_err(), "somebody was asked");
}
