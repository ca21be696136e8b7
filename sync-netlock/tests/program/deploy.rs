//! The files in `deploy/`: the Dockerfile and the sample configuration fit together, as far as that
//! can be checked without building the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::raw::Raw;
use super::server::{NETLOCKD, Netlockd, run};
use super::tls;

fn file(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(name)).unwrap()
}

/// Returns the rest of each line of the Dockerfile that begins with this instruction.
fn lines<'d>(dockerfile: &'d str, word: &str) -> Vec<&'d str> {
    dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
        .collect()
}

/// The image as the Dockerfile describes it: its command, environment and ports.
struct Image {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    ports: Vec<String>,
}

impl Image {
    /// Returns the image with its folders moved below another one.
    fn below(root: &Path) -> Self {
        let dockerfile = file("deploy/Dockerfile");
        let moved = |text: &str| {
            let root = root.display();
            text.replace("/etc/netlockd", &format!("{root}/etc"))
                .replace("/var/lib/netlockd", &format!("{root}/data"))
        };
        let command = ["ENTRYPOINT", "CMD"].iter().flat_map(|word| {
            let list = lines(&dockerfile, word).pop().unwrap_or("[]");
            serde_json::from_str::<Vec<String>>(list).unwrap()
        });
        let variable = |line: &&str| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), moved(value))
        };
        Self {
            command: command.map(|word| moved(&word)).collect(),
            environment: lines(&dockerfile, "ENV").iter().map(variable).collect(),
            ports: lines(&dockerfile, "EXPOSE")
                .iter()
                .map(|port| (*port).to_owned())
                .collect(),
        }
    }

    /// Returns the program with the arguments of the image.
    fn command(&self) -> Command {
        assert!(self.command[0].ends_with("/netlockd"), "{:?}", self.command);
        let mut command = Command::new(NETLOCKD);
        command.args(&self.command[1..]).envs(&self.environment);
        command
    }
}

#[test]
fn the_image_reads_the_mounted_configuration_and_can_be_reached_at_its_port() {
    let place = tempfile::tempdir().unwrap();
    let etc = place.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let image = Image::below(place.path());
    let sample = file("deploy/netlockd.toml").replace("/etc/netlockd", etc.to_str().unwrap());
    std::fs::write(etc.join("netlockd.toml"), &sample).unwrap();
    tls::pair(&etc, "server");
    let tokens = run(&["hash-token", "shop"]);
    std::fs::write(etc.join("tokens"), tokens.stdout).unwrap();

    let check = image.command().args(["config", "check"]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(check.status.success(), "{said}");

    let printed = image.command().arg("--print-config").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    for port in &image.ports {
        assert!(
            printed.contains(&format!("listen = \"0.0.0.0:{port}\"")),
            "{printed}"
        );
    }
    assert!(
        printed.contains(place.path().join("data").to_str().unwrap()),
        "{printed}"
    );

    // The port of the sample may be in use on this machine.
    let sample = sample.replace("0.0.0.0:7420", "0.0.0.0:0");
    std::fs::write(etc.join("netlockd.toml"), sample).unwrap();
    let mut command = image.command();
    command.stderr(Stdio::null());
    let server = Netlockd::spawn(command);
    let (host, port) = server.address().rsplit_once(':').unwrap();
    assert_eq!(host, "0.0.0.0");
    std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
}

#[test]
fn the_image_runs_with_flags_instead_of_a_configuration() {
    // As with `docker run netlockd --listen 0.0.0.0:7420 --insecure-allow-remote`: flags replace
    // the command.
    let place = tempfile::tempdir().unwrap();
    let image = Image::below(place.path());
    let mut command = Command::new(NETLOCKD);
    command
        .args(["--listen", "0.0.0.0:0", "--insecure-allow-remote"])
        .envs(&image.environment);
    command.stderr(Stdio::null());
    let server = Netlockd::spawn(command);
    let (_, port) = server.address().rsplit_once(':').unwrap();
    Raw::connect(&format!("127.0.0.1:{port}"));
}

/// Checks a configuration of a member whose files are in `folder`, with these flags.
fn check_member(folder: &Path, config: &str, flags: &[&str]) {
    let path = folder.join("netlockd.toml");
    std::fs::write(&path, config).unwrap();
    for name in ["server", "node", "nodes", "nodes-ca"] {
        tls::pair(folder, name);
    }
    let tokens = run(&["hash-token", "shop"]);
    std::fs::write(folder.join("tokens"), tokens.stdout).unwrap();
    let path = path.to_str().unwrap();
    let all = [&["--config", path], flags, &["config", "check"]].concat();
    let checked = run(&all);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{said}");
    let listens = run(&[&["--config", path], flags, &["--print-config"]].concat());
    let printed = String::from_utf8(listens.stdout).unwrap();
    assert!(
        printed.contains("name = \"netlock-1\"") || flags.is_empty(),
        "{printed}"
    );
}

#[test]
fn the_configuration_of_a_member_is_valid() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path().to_str().unwrap();
    let sample = file("deploy/netlockd-cluster.toml").replace("/etc/netlockd", here);
    let sample = format!("data_dir = \"{here}/data\"\n{sample}");
    check_member(place.path(), &sample, &[]);
}

#[test]
fn the_manifests_for_kubernetes_configure_a_member() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path().to_str().unwrap();
    let manifest = file("deploy/kubernetes.yaml");
    let begin = "netlockd.toml: |\n";
    let config = &manifest[manifest.find(begin).unwrap() + begin.len()..];
    let config = &config[..config.find("---").unwrap()];
    let config = config.replace("/etc/netlock/", &format!("{here}/"));
    let config = config.replace("/var/lib/netlockd", &format!("{here}/data"));
    let arguments = manifest.lines().filter_map(|line| {
        let argument = line.trim().strip_prefix("- --set=")?;
        Some(argument.replace("$(POD)", "netlock-1"))
    });
    let arguments: Vec<_> = arguments.collect();
    assert_eq!(arguments.len(), 2, "the name, and the address for clients");
    let set = arguments.iter().flat_map(|argument| ["--set", argument]);
    check_member(place.path(), &config, &set.collect::<Vec<_>>());
}

#[test]
fn large_and_secret_files_are_not_sent_to_the_builder() {
    let ignored = file(".dockerignore");
    for name in ["**/target", ".git"] {
        assert!(ignored.lines().any(|line| line == name), "{name}");
    }
}
