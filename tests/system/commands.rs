//! What the README tells a newcomer to type.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::system::folder::{self, Folder};
use crate::support::system::http::Http;
use crate::support::system::lines::assert_same;
use crate::support::system::{System, local, shared};

#[test]
fn the_demo_shows_its_files_and_finds_every_line_exact() {
    let demo = Command::new(local()).args(["demo", "--patients", "20"]).output().unwrap();
    let table = succeeded(&demo);
    let total = table.lines().find(|line| line.starts_with("total ")).expect("a line with the totals");
    let [_, files, resources, ..] = total.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{total}") };
    let number = |text: &str| text.replace(',', "").parse::<u32>().unwrap();
    assert!(number(files) >= 20 && number(resources) >= 20 * 20, "{total}");
    let exact = format!("{0} of {0} resources exact", number(resources));
    assert_eq!(table.lines().last(), Some(exact.as_str()));
}

#[test]
fn the_curl_lines_of_the_readme_work_as_they_stand() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## With curl\n").expect("a section on curl");
    let (_, block) = section.split_once("```sh\n").expect("a block of commands");
    let (commands, _) = block.split_once("\n```").expect("the end of the block");
    let folder = Folder::new();
    let mut bash = Command::new("bash");
    bash.args(["-c", commands]).env("BASE", &shared().ready.base).env("no_proxy", "127.0.0.1");
    let shown = succeeded(&bash.current_dir(folder.path()).output().unwrap());
    assert!(shown.contains("transactionTime") && shown.contains("ndjson"), "{shown}");
}

#[tokio::test]
async fn what_load_puts_into_a_running_system_comes_out_of_its_export() {
    let (http, folder) = (Http::new(), Folder::of_oddities());
    let system = System::up(&["--patients", "1", "--set", "FhirServer__CosmosDb__CollectionId=loaded"]);
    let account = &system.ready.cosmos;
    // It makes the container; and what is loaded again replaces what is there.
    for _ in 0..2 {
        let mut load = Command::new(local());
        load.args(["load", "--data", folder.path(), "--container", "loaded"]);
        load.args(["--cosmos", &account.endpoint, "--key", &account.key]);
        succeeded(&load.output().unwrap());
        assert_same(&folder::lines(), &system.exported_lines(&http, "").await);
    }
}

fn succeeded(output: &Output) -> String {
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{shown}\n{said}", output.status);
    shown.into_owned()
}
