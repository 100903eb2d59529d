// The handler of the tests: reports every request, and does to a message what the message says.
const http = require("http");
const net = require("net");

if (process.env.TEST_DIES) {
  console.error("cannot start: " + process.env.TEST_DIES);
  process.exit(3);
}
const events = net.connect(Number(process.env.TEST_EVENTS_PORT), "127.0.0.1");
// The test that listened is over.
events.on("error", () => process.exit(1));

function report(request, body) {
  const { method, url, headers } = request;
  events.write(JSON.stringify({ pid: process.pid, method, url, headers, body }) + "\n");
}

function invoked(request, response, body) {
  report(request, body);
  if (body.includes("fail")) {
    response.writeHead(500).end("failed as told");
  } else if (body.includes("empty")) {
    response.writeHead(204).end();
  } else if (!body.includes("wait")) {
    response.writeHead(200, { "content-type": "application/json" }).end('{"Outputs":{},"Logs":["done as told"]}');
  }
}

function echoed(request, response, body) {
  const { method, url, headers } = request;
  const { env } = process;
  const text = JSON.stringify({ pid: process.pid, cwd: process.cwd(), method, url, headers, body, env });
  response.writeHead(201, { "x-echo": "1", "keep-alive": "timeout=5", "content-type": "application/fhir+json" });
  response.end(text);
}

const server = http.createServer((request, response) => {
  if (request.url === "/") {
    response.writeHead(404).end();
  } else if (request.url === "/stream") {
    request.pipe(response);
  } else if (request.url === "/hang") {
    report(request, "");
  } else {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    const worker = ["/Worker", "/Poison", "/Tick"].includes(request.url);
    request.on("end", () => (worker ? invoked : echoed)(request, response, body));
  }
});
server.listen(Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT), "127.0.0.1", () => console.log("listening"));
