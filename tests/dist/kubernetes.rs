//! The manifests: the program takes the flags and the configuration in them, and their parts fit together.

use std::fs;

use serde_json::{Value, json};

use crate::yaml::documents;
use crate::{SHUTDOWN_SECONDS, end_seconds, highlander, read, scratch};

fn manifests() -> Vec<Value> {
    documents(&read("dist/kubernetes.yaml"))
}

fn one(kind: &str, name: &str) -> Value {
    let is_it = |it: &Value| it["kind"] == kind && it["metadata"]["name"] == name;
    manifests().into_iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn container(set: &Value) -> &Value {
    &set["spec"]["template"]["spec"]["containers"][0]
}

fn configuration() -> Value {
    let text = one("ConfigMap", "highlander")["data"]["highlander.yml"].clone();
    documents(text.as_str().expect("a text")).remove(0)
}

/// The result of `highlander check` for a pod whose Secret holds this key.
fn check(folder: &str, key: &str) -> (Option<i32>, String) {
    let folder = scratch(folder);
    let keys = folder.join("keys");
    fs::write(&keys, key).expect("a new file");
    let set = one("StatefulSet", "highlander");
    let map = one("ConfigMap", "highlander");
    let text = map["data"]["highlander.yml"].as_str().expect("a text");
    let place = configuration()["cluster_key_file"].as_str().expect("a path").to_owned();
    let file = folder.join("highlander.yml");
    fs::write(&file, text.replace(&place, &keys.to_string_lossy())).expect("a new file");
    let args = container(&set)["args"].as_array().expect("a list").iter();
    let args = args.map(|arg| arg.as_str().expect("a text").replace("$(POD_IP)", "10.0.0.1"));
    let args: Vec<String> = args.collect();
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    // `check` is given the file in its own way.
    assert_eq!(args.drain(..2).collect::<Vec<_>>(), ["--config", "/etc/highlander/highlander.yml"]);
    let file = file.to_string_lossy().into_owned();
    args.extend(["check", &file]);
    highlander(&args)
}

#[test]
fn the_program_takes_the_flags_and_the_configuration_of_a_pod() {
    let (code, said) = check("kubernetes-good", &("A".repeat(43) + "="));
    assert_eq!(code, Some(0), "{said}");
    let warned = said.lines().filter(|line| !line.contains(" is good")).collect::<Vec<_>>();
    assert!(warned.len() == 1 && warned[0].starts_with("--admin is reached"), "{said}");
}

#[test]
fn the_key_that_stands_there_is_refused() {
    let secret = one("Secret", "highlander-keys");
    let key = secret["stringData"]["keys"].as_str().expect("a text");
    let (code, said) = check("kubernetes-placeholder", key);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("cluster_key_file"), "{said}");
}

#[test]
fn services_probes_and_names_lead_to_the_pods() {
    let set = one("StatefulSet", "highlander");
    let (spec, pod) = (&set["spec"], &set["spec"]["template"]);
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "highlander");
    let nodes = one("Service", spec["serviceName"].as_str().expect("a name"));
    assert_eq!(nodes["spec"]["clusterIP"], "None");
    assert_eq!(nodes["spec"]["publishNotReadyAddresses"], true);
    let data = one("Service", "highlander");
    let budget = one("PodDisruptionBudget", "highlander");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let apart = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        [0]["labelSelector"]["matchLabels"];
    for selector in [
        &nodes["spec"]["selector"],
        &data["spec"]["selector"],
        &spec["selector"]["matchLabels"],
        &budget["spec"]["selector"]["matchLabels"],
        apart,
    ] {
        assert_eq!(selector, labels);
    }

    let config = configuration();
    let port = |key: &str| config[key].as_str()?.rsplit(':').next()?.parse::<u64>().ok();
    let ports = container(&set)["ports"].as_array().expect("a list");
    let of = |name: &str| ports.iter().find(|port| port["name"] == name);
    for (name, key) in [("data", "listen"), ("admin", "admin"), ("gossip", "cluster_bind")] {
        let there = of(name).and_then(|it| it["containerPort"].as_u64());
        assert!(there.is_some() && there == port(key), "{name} is not at {key}");
    }
    assert_eq!(of("gossip").map(|it| &it["protocol"]), Some(&json!("UDP")));
    assert_eq!(nodes["spec"]["ports"][0]["port"].as_u64(), port("cluster_bind"));
    assert_eq!(nodes["spec"]["ports"][0]["protocol"], "UDP");
    assert_eq!(data["spec"]["ports"][0]["port"].as_u64(), port("listen"));
    for (probe, path) in [("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")] {
        assert_eq!(container(&set)[probe]["httpGet"], json!({"path": path, "port": "admin"}));
    }

    // One that is alone would not be ready where leases are wanted, and keep the others from starting.
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    let peers = config["cluster_connect"].as_array().expect("a list");
    assert_eq!(spec["replicas"].as_u64(), Some(peers.len() as u64));
    for (number, peer) in peers.iter().enumerate() {
        assert_eq!(*peer, format!("highlander-{number}.highlander-nodes:6746"));
    }
}

#[test]
fn a_pod_has_no_rights_a_key_and_time_to_end() {
    let set = one("StatefulSet", "highlander");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    // As the image's own user.
    let user = pod["securityContext"]["runAsUser"].as_u64().expect("a number");
    let image = read("dist/Dockerfile");
    assert!(image.contains(&format!("\nUSER {user}:{user}\n")));
    let name = concat!("highlander:", env!("CARGO_PKG_VERSION"));
    assert!(container(&set)["image"] == name && image.contains(&format!(" -t {name} ")), "{name}");
    let rights = &container(&set)["securityContext"];
    assert_eq!(rights["readOnlyRootFilesystem"], true);
    assert_eq!(rights["allowPrivilegeEscalation"], false);
    assert_eq!(rights["capabilities"], json!({"drop": ["ALL"]}));

    let config = configuration();
    assert_eq!(config["shutdown_timeout"], format!("{SHUTDOWN_SECONDS}s"));
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
    assert!(grace > end_seconds(), "{grace}");

    // What is mounted is there, and holds what the configuration and the flags ask for.
    let mounts = container(&set)["volumeMounts"].as_array().expect("a list");
    let volumes = pod["volumes"].as_array().expect("a list");
    for (path, holds) in [
        ("/etc/highlander", json!({"configMap": {"name": "highlander"}, "name": "config"})),
        (
            "/etc/highlander-keys",
            json!({"secret": {"secretName": "highlander-keys", "defaultMode": "0440"}, "name": "keys"}),
        ),
    ] {
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).expect("it is mounted");
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        assert_eq!(volume, Some(&holds));
    }
    assert_eq!(config["cluster_key_file"], "/etc/highlander-keys/keys");
}

#[test]
fn only_the_data_port_is_open_to_everybody() {
    let policy = one("NetworkPolicy", "highlander");
    let set = one("StatefulSet", "highlander");
    let ports = container(&set)["ports"].as_array().expect("a list").clone();
    let rules = policy["spec"]["ingress"].as_array().expect("a list");
    let mut named = Vec::new();
    for rule in rules {
        let port = &rule["ports"][0];
        let is_it = |it: &&Value| it["name"] == port["port"];
        let of_pod = ports.iter().find(is_it).expect("the pod has such a port");
        let protocol = of_pod.get("protocol").cloned().unwrap_or_else(|| json!("TCP"));
        assert_eq!(port["protocol"], protocol);
        assert_eq!(rule["from"].is_null(), port["port"] == "data", "{rule}");
        named.push(port["port"].clone());
    }
    assert_eq!(named, ["data", "gossip", "admin"]);
    assert_eq!(named.len(), ports.len());
    let selector = &policy["spec"]["podSelector"]["matchLabels"];
    assert_eq!(*selector, set["spec"]["selector"]["matchLabels"]);
}
