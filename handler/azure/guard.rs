//! The connector for hosts that a caller named: the one way to them.
//!
//! A name is resolved here and nowhere else, every address is judged, and the connection goes to an address that was
//! judged: a name that means something else a moment later changes nothing. Redirects are not followed, no proxy stands
//! between, and a URL that the policy would not admit is not asked for, wherever it came from.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Url};
use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::bulk::address::Reach;
use crate::bulk::policy::CallerPolicy;

/// The addresses of a host.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Sends requests to hosts of callers, as far as the policy admits them.
pub struct Guard {
    client: reqwest::Client,
    policy: Arc<CallerPolicy>,
}

impl Guard {
    pub fn new(policy: CallerPolicy, lookup: Lookup) -> azure_core::Result<Self> {
        Self::over(reqwest::Client::builder(), policy, lookup, Reach::admits)
    }

    /// The same over a client that may trust further certificates, with another judge of addresses: there is no server for
    /// tests among the addresses that are admitted.
    fn over(
        builder: reqwest::ClientBuilder,
        policy: CallerPolicy,
        lookup: Lookup,
        judge: fn(Reach, IpAddr) -> bool,
    ) -> azure_core::Result<Self> {
        let policy = Arc::new(policy);
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(true)
            .connect_timeout(Duration::from_secs(10))
            .dns_resolver(Arc::new(Judged { policy: Arc::clone(&policy), lookup, judge }))
            .build();
        let client = client.map_err(|error| Error::with_error(ErrorKind::Other, error, "build the guarded client"))?;
        Ok(Self { client, policy })
    }

    /// The resolver of the machine.
    pub fn system_lookup() -> Lookup {
        Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 443)).await?.collect()) }))
    }
}

#[async_trait]
impl HttpClient for Guard {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.policy.admits(request.url()) {
            // A literal address would never be resolved, so never judged: the policy admits names alone.
            Ok(_) => self.client.execute_request(request).await,
            Err(_) => {
                Err(Error::with_message(ErrorKind::Connection, "the policy for callers does not admit this host"))
            }
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// Gives the client those addresses only that it may connect to.
struct Judged {
    policy: Arc<CallerPolicy>,
    lookup: Lookup,
    judge: fn(Reach, IpAddr) -> bool,
}

impl Judged {
    /// How far the policy lets a connection to this host reach.
    fn reach(&self, host: &str) -> Result<Reach, &'static str> {
        let url = Url::parse(&format!("https://{host}/")).map_err(|_| "it is no name")?;
        self.policy.admits(&url)
    }
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, lookup, judge) = (self.reach(name.as_str()), Arc::clone(&self.lookup), self.judge);
        Box::pin(async move {
            // A name that is not admitted is not even asked for.
            let reach = reach?;
            let found = lookup(name.as_str().to_owned()).await?;
            // One address outside is one too many: a name with a foot in both worlds is no storage account.
            if found.is_empty() || !found.iter().all(|address| judge(reach, address.ip())) {
                return Err("the name of the host does not lead to where a caller may send us".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::process::Command;
    use std::sync::Mutex;

    use azure_core::http::{ClientOptions, ExponentialRetryOptions, Method, RetryOptions, Transport};
    use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::bulk::policy::Named;

    const HOST: &str = "example.blob.core.windows.net";
    const OTHER: &str = "another.blob.core.windows.net";

    /// Storage accounts on this machine, behind certificates that the guard trusts, and a trap beside them that must not
    /// hear anything.
    struct Cloud {
        trust: reqwest::Certificate,
        server: SocketAddr,
        trap: std::net::TcpListener,
        seen: Arc<Mutex<Seen>>,
    }

    #[derive(Default)]
    struct Seen {
        /// Whom each connection to the server was meant for.
        connections: Vec<String>,
        /// Which names were looked up.
        asked: Vec<String>,
    }

    /// The one address that these tests take for the internet; the trap listens at another one.
    const INTERNET: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const INSIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    impl Cloud {
        /// A server that answers every request with this head, `{trap}` being the address of the trap.
        async fn answering(head: &str) -> Self {
            let names = [HOST, OTHER].map(str::to_owned);
            let certified = rcgen::generate_simple_self_signed(names).unwrap();
            let trust = reqwest::Certificate::from_der(certified.cert.der()).unwrap();
            let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
            let tls = ServerConfig::builder().with_no_client_auth();
            let mut tls = tls.with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            let listener = TcpListener::bind((INTERNET, 0)).await.unwrap();
            let trap = std::net::TcpListener::bind((INSIDE, 0)).unwrap();
            let (server, seen) = (listener.local_addr().unwrap(), Arc::default());
            let head = head.replace("{trap}", &trap.local_addr().unwrap().to_string());
            let answers = serve(listener, TlsAcceptor::from(Arc::new(tls)), head, Arc::clone(&seen));
            tokio::spawn(answers);
            Self { trust, server, trap, seen }
        }

        fn trap(&self) -> SocketAddr {
            self.trap.local_addr().unwrap()
        }

        /// A guard for which names lead to these addresses, lookup by lookup; the last ones stay.
        fn guard(&self, answers: &[&[SocketAddr]]) -> Guard {
            let answers = Mutex::new(answers.iter().map(|found| found.to_vec()).collect::<Vec<_>>());
            let seen = Arc::clone(&self.seen);
            let lookup: Lookup = Arc::new(move |name| {
                seen.lock().unwrap().asked.push(name);
                let mut answers = answers.lock().unwrap();
                let found = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
                Box::pin(async move { Ok(found) })
            });
            let policy = CallerPolicy { named: Named::Any, ..CallerPolicy::default() };
            let builder = reqwest::Client::builder().tls_certs_only([self.trust.clone()]);
            Guard::over(builder, policy, lookup, |_, address| address == INTERNET).unwrap()
        }

        fn connections(&self) -> Vec<String> {
            self.seen.lock().unwrap().connections.clone()
        }

        fn asked(&self) -> Vec<String> {
            self.seen.lock().unwrap().asked.clone()
        }

        /// What was connected to stands in the queue of the listener at once.
        #[track_caller]
        fn assert_nothing_trapped(&self) {
            self.trap.set_nonblocking(true).unwrap();
            let nobody = self.trap.accept().map(|(_, from)| from);
            assert_eq!(nobody.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    /// One request for each connection, which is then closed.
    async fn serve(listener: TcpListener, tls: TlsAcceptor, head: String, seen: Arc<Mutex<Seen>>) {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = tls.accept(stream).await else { continue };
            let meant_for = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            seen.lock().unwrap().connections.push(meant_for);
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _gone = stream.write_all(answer.as_bytes()).await;
            let _gone = stream.shutdown().await;
        }
    }

    /// The status of the answer, if there is one.
    async fn get(guard: &Guard, url: &str) -> Option<u16> {
        let request = Request::new(url.parse().unwrap(), Method::Get);
        guard.execute_request(&request).await.ok().map(|answer| u16::from(answer.status()))
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_nothing_is_asked_of_where_it_leads() {
        for status in [301, 302, 303, 307, 308] {
            for target in ["http://{trap}/", "https://{trap}/", "https://another.blob.core.windows.net/x", "//{trap}/"]
            {
                let cloud = Cloud::answering(&format!("{status} Go\r\nLocation: {target}")).await;
                let guard = cloud.guard(&[&[cloud.server], &[cloud.trap()]]);
                let answered = get(&guard, &format!("https://{HOST}/container/blob?sig=x")).await;
                assert_eq!(answered, Some(status), "{target}");
                assert_eq!((cloud.asked(), cloud.connections()), (vec![HOST.into()], vec![HOST.into()]), "{target}");
                cloud.assert_nothing_trapped();
            }
        }
    }

    /// The pipeline of the SDK follows no redirect either, and turns to no other host when it tries again.
    #[tokio::test]
    async fn the_sdk_asks_one_host_alone() {
        for head in ["307 Go\r\nLocation: http://{trap}/", "503 Busy\r\nRetry-After: 0"] {
            let cloud = Cloud::answering(head).await;
            let transport = Some(Transport::new(Arc::new(cloud.guard(&[&[cloud.server]]))));
            let (most, pause) = (2, time::Duration::milliseconds(1));
            let retry = ExponentialRetryOptions {
                max_retries: most,
                initial_delay: pause,
                max_delay: pause,
                ..Default::default()
            };
            let client_options =
                ClientOptions { transport, retry: RetryOptions::exponential(retry), ..Default::default() };
            let options = BlobContainerClientOptions { client_options, ..Default::default() };
            let url = format!("https://{HOST}/container?sig=x").parse().unwrap();
            let client = BlobContainerClient::new(url, None, Some(options)).unwrap();
            assert!(client.create(None).await.is_err());
            let (asked, connections) = (cloud.asked(), cloud.connections());
            assert!(!connections.is_empty() && asked.iter().chain(&connections).all(|name| name == HOST), "{asked:?}");
            cloud.assert_nothing_trapped();
        }
    }

    #[tokio::test]
    async fn the_address_that_was_judged_is_the_one_connected_to() {
        let cloud = Cloud::answering("200 OK").await;
        let url = format!("https://{HOST}/container/blob");
        // The name leads to another place whenever it is asked for again.
        let guard = cloud.guard(&[&[cloud.server], &[cloud.trap()]]);
        assert_eq!(get(&guard, &url).await, Some(200));
        assert_eq!(cloud.asked().len(), 1, "who asks twice may be told two things");
        // The server has closed the connection: the next one is judged anew.
        assert_eq!(get(&guard, &url).await, None);
        assert_eq!((cloud.asked().len(), cloud.connections().len()), (2, 1));
        for found in [&[cloud.server, cloud.trap()][..], &[cloud.trap(), cloud.server], &[]] {
            assert_eq!(get(&cloud.guard(&[found]), &url).await, None, "{found:?}");
        }
        assert_eq!(cloud.connections().len(), 1);
        cloud.assert_nothing_trapped();
    }

    /// One certificate may stand for two accounts at one address: each has a connection of its own all the same.
    #[tokio::test]
    async fn a_connection_serves_the_host_alone_that_it_was_made_for() {
        let cloud = Cloud::answering("200 OK").await;
        let guard = cloud.guard(&[&[cloud.server]]);
        for host in [HOST, OTHER] {
            assert_eq!(get(&guard, &format!("https://{host}/container")).await, Some(200));
        }
        assert_eq!(
            (cloud.asked(), cloud.connections()),
            (vec![HOST.into(), OTHER.into()], vec![HOST.into(), OTHER.into()])
        );
    }

    #[tokio::test]
    async fn a_url_that_the_policy_does_not_admit_is_not_even_looked_up() {
        let cloud = Cloud::answering("200 OK").await;
        let guard = cloud.guard(&[&[cloud.server]]);
        let port = cloud.server.port();
        for url in [
            format!("http://{HOST}/"),
            format!("https://{HOST}:{port}/"),
            format!("https://user@{HOST}/"),
            format!("https://user:pass@{HOST}/"),
            format!("https://127.0.0.1:{port}/"),
            format!("https://[::ffff:127.0.0.1]:{port}/"),
            format!("https://localhost:{port}/"),
            format!("https://{HOST}./"),
            format!("https://{HOST}.evil.test/"),
            "https://evil.test/.blob.core.windows.net".into(),
        ] {
            assert_eq!(get(&guard, &url).await, None, "{url}");
        }
        assert_eq!((cloud.asked(), cloud.connections()), (Vec::<String>::new(), Vec::<String>::new()));
    }

    /// A certificate that nobody vouches for is no account of Azure, wherever the name leads.
    #[tokio::test]
    async fn a_server_without_a_certificate_of_the_host_gets_no_request() {
        let (cloud, stranger) = (Cloud::answering("200 OK").await, Cloud::answering("200 OK").await);
        assert_eq!(get(&cloud.guard(&[&[stranger.server]]), &format!("https://{HOST}/")).await, None);
        assert_eq!(stranger.connections(), Vec::<String>::new());
    }

    /// The variables are read when a client is made, so the test runs itself once more in an environment that has them.
    #[tokio::test]
    async fn no_proxy_of_the_environment_stands_between() {
        const NAME: &str = "azure::guard::tests::no_proxy_of_the_environment_stands_between";
        const VARIABLES: [&str; 6] =
            ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
        const AGAIN: &str = "FHIR_EXPORT_TEST_BEHIND_A_PROXY";
        let cloud = Cloud::answering("200 OK").await;
        if std::env::var_os(AGAIN).is_some() {
            assert!(std::env::var_os("HTTPS_PROXY").is_some());
            assert_eq!(get(&cloud.guard(&[&[cloud.server]]), &format!("https://{HOST}/")).await, Some(200));
            return;
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME]).env(AGAIN, "1");
        again.envs(VARIABLES.map(|name| (name, format!("http://{}", cloud.trap()))));
        let again = again.output().unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        cloud.assert_nothing_trapped();
    }
}
