//! HTTP functions: which requests reach the handler, and in what shape.

use reqwest::header::CONTENT_ENCODING;
use reqwest::{Body, Client, Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{Host, HttpMode};
use super::App;

fn chunked(text: &'static str) -> Body {
    Body::wrap_stream(futures::stream::once(async move { Ok::<_, std::io::Error>(text) }))
}

async fn echo(request: reqwest::RequestBuilder) -> Value {
    let response = request.header("user-agent", "tester/1").send().await.unwrap();
    assert_eq!((response.status(), &response.headers()["x-echo"]), (StatusCode::CREATED, &"1".parse().unwrap()));
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(response.headers()["content-type"], "application/fhir+json");
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn only_routes_and_methods_of_http_functions_reach_the_handler() {
    let mut app = App::with_queue().await;
    for mode in [HttpMode::Proxy, HttpMode::Forward] {
        app.options.mode = mode;
        let host = app.start().await;
        let client = Client::new();
        for (method, path, status) in [
            (Method::GET, "/echo/1", 201),
            (Method::GET, "/ECHO/1/", 201),
            (Method::GET, "/Patient/%24export", 201),
            (Method::GET, "/patient/$EXPORT", 201),
            (Method::POST, "/Patient/$export", 404),
            (Method::HEAD, "/echo/1", 404),
            (Method::DELETE, "/echo/1", 404),
            (Method::GET, "/echo", 404),
            (Method::GET, "/echo/1/2", 404),
            (Method::POST, "/Worker", 404),
            (Method::POST, "/worker/", 404),
            (Method::POST, "/Poison", 404),
            (Method::GET, "/", 200),
        ] {
            let response = client.request(method.clone(), host.base() + path).send().await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{mode:?} {method} {path}");
        }
        host.stop().await;
    }
    app.no_report();
}

#[tokio::test]
async fn proxying_keeps_the_query_and_streams_a_body_of_unknown_length() {
    let app = App::new().await;
    let host = app.start().await;
    let url = format!("{}/echo/%24a%20b?_type=A&_type=B%2Cc&x=%24+", host.base());
    let request = Client::new().post(&url).body(chunked("abc")).header(CONTENT_ENCODING, "none");
    let seen = echo(request.header("x-ms-invocation-id", "mine").header("te", "trailers")).await;
    assert_eq!((&seen["method"], &seen["body"]), (&"POST".into(), &"abc".into()));
    assert_eq!(seen["url"], "/echo/$a%20b?_type=A&_type=B%2Cc&x=%24+");
    let headers = &seen["headers"];
    assert_eq!(headers["host"], host.base().strip_prefix("http://").unwrap());
    assert_eq!((&headers["user-agent"], &headers["content-encoding"]), (&"tester/1".into(), &"none".into()));
    assert_eq!(headers["transfer-encoding"], "chunked");
    assert_eq!(headers["x-azure-functions-hostversion"], "4.1052.200.0");
    assert_eq!(headers["x-azure-functions-invocationid"].as_str().unwrap().len(), 36);
    assert_eq!(headers["x-ms-invocation-id"], headers["x-azure-functions-invocationid"]);
    assert!(headers.get("te").is_none());
    host.stop().await;
}

#[tokio::test]
async fn forwarding_joins_repeated_parameters_and_drops_a_body_of_unknown_length() {
    let mut app = App::new().await;
    app.options.mode = HttpMode::Forward;
    let host = app.start().await;
    let url = format!("{}/echo/%24a?_type=A&_type=B%2Cc&x=%24+", host.base());
    let seen = echo(Client::new().post(&url).body(chunked("abc")).header("content-type", "text/x")).await;
    assert_eq!((&seen["url"], &seen["body"]), (&"/echo/$a?_type=A%2CB%2Cc&x=%24%20".into(), &"".into()));
    assert_eq!(seen["headers"]["user-agent"], "tester/1 Azure-Functions-Host/4.1052.200.0");
    assert!(seen["headers"].get("x-ms-invocation-id").is_none());
    assert_eq!(seen["headers"]["content-length"], "0", "the host's client says so itself");

    let known = Client::new().post(&url).body("abc").header("content-type", "text/x");
    let seen = echo(known.header(CONTENT_ENCODING, "none")).await;
    assert_eq!((&seen["body"], &seen["headers"]["content-type"]), (&"abc".into(), &"text/x".into()));
    assert_eq!(seen["headers"]["content-length"], "3");
    assert_eq!(seen["headers"]["host"], host.base().strip_prefix("http://").unwrap());
    assert!(seen["headers"].get("content-encoding").is_none());
    host.stop().await;
}

/// As Azure does it, and Core Tools with `--enableAuth`.
#[tokio::test]
async fn a_function_is_reached_with_a_key_unless_it_is_anonymous() {
    let mut app = App::new().await;
    app.root.write(
        "Open/function.json",
        r#"{"bindings":[{"type":"httpTrigger","name":"req","authLevel":"Anonymous","route":"open"},
            {"type":"http","direction":"out","name":"res"}]}"#,
    );
    app.options.keys = Some(vec!["alices".to_owned(), "bobs".to_owned()]);
    let host = app.start().await;
    let client = Client::new();
    for (path, key, status) in [
        ("/open", None, 201),
        ("/echo/1", None, 401),
        ("/echo/1?code=alices", None, 201),
        ("/echo/1?CODE=bobs", None, 201),
        ("/echo/1?code=other", None, 401),
        ("/echo/1", Some("bobs"), 201),
        ("/echo/1?code=alices", Some("other"), 401),
        ("/nothing", None, 404),
    ] {
        let request = client.get(format!("{}{path}", host.base()));
        let request = match key {
            Some(key) => request.header("x-functions-key", key),
            None => request,
        };
        assert_eq!(request.send().await.unwrap().status(), status, "{path} {key:?}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_host_that_may_neither_proxy_nor_forward_is_refused() {
    let mut app = App::new().await;
    app.set("AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest", "false");
    app.options.mode = HttpMode::Forward;
    let error = Host::start(app.options.clone()).await.err().unwrap();
    assert!(error.to_string().contains("no way to pass HTTP requests on"), "{error:#}");
}

#[tokio::test]
async fn proxying_answers_before_the_request_has_ended() {
    let app = App::new().await;
    let host = app.start().await;
    let mut stream = TcpStream::connect(host.base().strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for (sent, expected) in [(head.to_owned() + "3\r\none\r\n", "one"), ("3\r\ntwo\r\n0\r\n\r\n".to_owned(), "two")] {
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut received = String::new();
        while !received.contains(expected) {
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "the connection ended after {received:?}");
            received.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
    }
    host.stop().await;
}
