//! Everything around the handler on one machine: the Functions host stand-in, the emulators, data and a client.

mod app;
mod authority;
mod azurite;
mod bench;
mod blobs;
mod checksum;
mod client;
mod cosmos;
mod data;
mod demo;
mod faults;
mod host;
mod load;
mod package;
mod queues;
mod server;
mod size;
mod source;
mod storage;
mod store;
mod system;
mod traffic;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "fhir-export on one machine: emulators, a stand-in of the Functions host, data, and a client")]
struct Local {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything up, one export of generated data, every line checked, all down again
    Demo(demo::DemoArgs),
    /// Everything up until Ctrl-C; prints one line of JSON when it is ready
    Up(up::UpArgs),
    /// Exports a store of any size and measures time, CPU and memory of the handler
    Bench(bench::BenchArgs),
    /// Gets a token from the authorization server of `up --authorization`
    Token(authority::TokenArgs),
    /// Builds what is deployed: the executable and the zip
    Package(package::PackageArgs),
    /// Loads a folder of NDJSON files into a Cosmos DB container, as the FHIR server would have stored them
    Load(load::LoadArgs),
    /// Exports from any FHIR Bulk Data server
    Export(client::ExportArgs),
    /// Shows how far an export is, until it ends
    Watch(client::WatchArgs),
    /// Proves that the files of a manifest are what it promises
    Verify(client::VerifyArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Local::parse().command {
        Command::Demo(args) => demo::demo(args).await,
        Command::Up(args) => up::up(args).await,
        Command::Bench(args) => bench::bench(args).await,
        Command::Token(args) => authority::token(args).await,
        Command::Package(args) => package::package(args).await,
        Command::Load(args) => load::load(args).await,
        Command::Export(args) => client::export(args).await,
        Command::Watch(args) => client::watch(args).await,
        Command::Verify(args) => client::verify(args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Local::command().debug_assert();
    }
}
