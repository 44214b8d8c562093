//! Decides the environment of a container and where its program is found.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    MARKER,
    config::{Config, Environment},
    places::Places,
    pod::{Container, Pod},
};

/// What every container inherits from the host, besides `PATH`. A trailing `*` matches any rest.
const INHERITED: [&str; 20] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "LD_LIBRARY_PATH",
    "NIX_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "CUDA_*",
];

/// Where programs are looked for when the host has no `PATH`.
const FALLBACK_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What all containers have in common: what they inherit from the host, and the configuration.
pub(crate) fn common(
    config: &Config,
    root: &Path,
    host: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let inherited = |name: &str| {
        INHERITED
            .into_iter()
            .chain(config.inherit_env.iter().map(String::as_str))
            .any(|rule| matches(rule, name))
    };
    let mut env: BTreeMap<String, String> = host
        .iter()
        .filter(|(name, _)| inherited(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let path = host.get("PATH").map_or(FALLBACK_PATH, String::as_str);
    let settings = [
        ("PATH", path),
        ("FLYTE_AWS_ENDPOINT", &config.s3.endpoint),
        ("FLYTE_AWS_ACCESS_KEY_ID", &config.s3.access_key),
        ("FLYTE_AWS_SECRET_ACCESS_KEY", &config.s3.secret_key),
    ];
    for (name, value) in settings.into_iter().filter(|(_, value)| !value.is_empty()) {
        env.insert(name.to_owned(), value.to_owned());
    }
    env.entry("HOME".to_owned()).or_insert_with(|| "/root".to_owned());
    env.extend(config.env.clone());
    env.insert(MARKER.to_owned(), root.display().to_string());
    env
}

/// The environment of a container: what is common, the attempt's own, image, pod; the later wins.
pub(crate) fn environment(
    config: &Config,
    common: &BTreeMap<String, String>,
    pod: &Pod,
    container: &Container,
    places: &Places,
) -> BTreeMap<String, String> {
    let mut env = common.clone();
    let scratch = places.scratch.to_string_lossy();
    let own = [
        ("TMPDIR", &*scratch),
        ("HOSTNAME", &pod.name),
        ("POD_NAME", &pod.name),
        ("POD_NAMESPACE", &pod.namespace),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let image = image_environment(config, &container.image);
    if let Some(image) = image {
        env.extend(image.vars.clone());
    }
    env.extend(container.env.clone());
    // Even a pod that brings its own PATH means the programs of its image.
    if let Some(prefix) = image.map(path_prefix).filter(|prefix| !prefix.is_empty()) {
        let rest = env.get("PATH").map_or(FALLBACK_PATH, String::as_str);
        let path = format!("{prefix}:{rest}");
        env.insert("PATH".to_owned(), path);
    }
    env
}

fn image_environment<'a>(config: &'a Config, image: &str) -> Option<&'a Environment> {
    config.images.iter().find(|rule| matches(&rule.pattern, image)).map(|rule| &rule.env)
}

fn path_prefix(environment: &Environment) -> String {
    let python =
        environment.python.as_deref().and_then(Path::parent).map(|path| path.to_string_lossy().into_owned());
    let path = (!environment.path.is_empty()).then(|| environment.path.clone());
    path.into_iter().chain(python).collect::<Vec<_>>().join(":")
}

/// Whether `text` is `pattern`, in which `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Finds the program as a shell would. The error is the message for the user.
pub(crate) fn find_program(
    name: &str,
    env: &BTreeMap<String, String>,
    work: &Path,
    image: &str,
) -> Result<PathBuf, String> {
    let runnable =
        |path: &Path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let path = env.get("PATH").map_or("", String::as_str);
    if name.contains('/') {
        let path = work.join(name);
        return if runnable(&path) {
            Ok(path)
        } else {
            Err(format!("{} is not there or not executable on this machine{}", path.display(), advice(image)))
        };
    }
    let candidates = path.split(':').filter(|dir| !dir.is_empty()).map(|dir| work.join(dir).join(name));
    candidates
        .into_iter()
        .find(|candidate| runnable(candidate))
        .ok_or_else(|| format!("command {name} was not found in PATH={path}{}", advice(image)))
}

fn advice(image: &str) -> String {
    format!(
        ". The local cluster runs containers as processes of this machine: install it here, or name the environment \
         that stands in for image {image:?} under `images` in the settings of the local cluster"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local::{config::ImageRule, quantity::Resources};

    #[test]
    fn patterns_match_runs_of_characters() {
        for (pattern, text, expected) in [
            ("img:1", "img:1", true),
            ("img:1", "img:12", false),
            ("img*", "img:12", true),
            ("*", "", true),
            ("*/a:*", "ghcr.io/x/a:v1", true),
            ("*/a:*-x", "ghcr.io/x/a:v1", false),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_pod_wins_over_image_configuration_and_host() {
        let object = json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "img:1", "env": [{"name": "A", "value": "pod"}]}]}});
        let pod = Pod::read(&object, "u", Resources::default()).unwrap();
        let image = Environment {
            python: Some("/venv/bin/python".into()),
            vars: [("A".to_owned(), "image".to_owned()), ("B".to_owned(), "image".to_owned())].into(),
            ..Environment::default()
        };
        let config = Config {
            images: vec![ImageRule { pattern: "img:*".into(), env: image }],
            env: [("B", "config"), ("C", "config")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            ..Config::default()
        };
        let host = [("PATH", "/bin"), ("SECRET", "s"), ("LC_ALL", "C")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        let places = Places { work: "/w".into(), scratch: "/s".into() };
        let common = common(&config, Path::new("/r"), &host);
        let env = environment(&config, &common, &pod, &pod.containers[0], &places);
        let value = |name: &str| env.get(name).map(String::as_str);
        assert_eq!((value("A"), value("B"), value("C")), (Some("pod"), Some("image"), Some("config")));
        assert_eq!(
            (value("PATH"), value("SECRET"), value("LC_ALL")),
            (Some("/venv/bin:/bin"), None, Some("C"))
        );
        assert_eq!((value("POD_NAME"), value("TMPDIR")), (Some("p"), Some("/s")));
    }

    #[test]
    fn a_missing_command_says_what_to_do() {
        let env = [("PATH".to_owned(), "/nowhere:/bin".to_owned())].into();
        let message = find_program("pyflyte-execute", &env, Path::new("/w"), "img:1").unwrap_err();
        assert!(message.contains("pyflyte-execute was not found in PATH=/nowhere:/bin"), "{message}");
        assert!(message.contains("under `images`"), "{message}");
        assert!(find_program("sh", &env, Path::new("/w"), "").unwrap().ends_with("sh"));
    }
}
