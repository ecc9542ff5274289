//! What an object is: group, kind, name, and what its pods would be able to do.

use super::node::{self, Node, Why};
use std::collections::{BTreeMap, BTreeSet};

/// One object, or all of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Empty for the core of the API, and where only the kind is known.
    group: String,
    pub(super) kind: String,
    pub(super) sort: Sort,
    pub(super) namespace: Option<String>,
    /// `None`: all of them.
    pub(super) name: Option<String>,
    /// What pods that are made of it could reach beyond themselves.
    pub(super) risks: BTreeSet<&'static str>,
    /// The secrets that they are given, by their names; `*` where those cannot be told.
    pub(super) secrets: BTreeSet<String>,
}

/// What a kind is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Who may do what: roles, their bindings, what the API itself lets in.
    Access,
    Secret,
    Namespace,
    Node,
    /// Runs pods.
    Workload,
    /// What pods keep files on, which can be a node's own.
    Volume,
    /// How things that run are reached, bounded or kept.
    Settings,
    Unlisted,
}

/// The kinds that are known, each with its group and exactly as it is called: tools take `secrets` for `Secret`, and nobody knows
/// what they make of another.
const KINDS: [(&str, &str, Sort); 51] = [
    ("", "Secret", Sort::Secret),
    ("", "ServiceAccount", Sort::Access),
    ("", "Namespace", Sort::Namespace),
    ("", "Node", Sort::Node),
    ("", "Pod", Sort::Workload),
    ("", "ReplicationController", Sort::Workload),
    ("", "ConfigMap", Sort::Settings),
    ("", "Service", Sort::Settings),
    ("", "Endpoints", Sort::Settings),
    ("", "Event", Sort::Settings),
    ("", "PersistentVolume", Sort::Volume),
    ("", "PersistentVolumeClaim", Sort::Settings),
    ("", "LimitRange", Sort::Settings),
    ("", "ResourceQuota", Sort::Settings),
    ("apps", "Deployment", Sort::Workload),
    ("apps", "StatefulSet", Sort::Workload),
    ("apps", "DaemonSet", Sort::Workload),
    ("apps", "ReplicaSet", Sort::Workload),
    ("apps", "ControllerRevision", Sort::Workload),
    ("batch", "Job", Sort::Workload),
    ("batch", "CronJob", Sort::Workload),
    ("networking.k8s.io", "Ingress", Sort::Settings),
    ("networking.k8s.io", "IngressClass", Sort::Settings),
    ("networking.k8s.io", "NetworkPolicy", Sort::Access),
    ("autoscaling", "HorizontalPodAutoscaler", Sort::Settings),
    ("policy", "PodDisruptionBudget", Sort::Settings),
    ("storage.k8s.io", "StorageClass", Sort::Settings),
    ("storage.k8s.io", "VolumeAttachment", Sort::Settings),
    ("coordination.k8s.io", "Lease", Sort::Settings),
    ("discovery.k8s.io", "EndpointSlice", Sort::Settings),
    ("scheduling.k8s.io", "PriorityClass", Sort::Settings),
    ("rbac.authorization.k8s.io", "Role", Sort::Access),
    ("rbac.authorization.k8s.io", "RoleBinding", Sort::Access),
    ("rbac.authorization.k8s.io", "ClusterRole", Sort::Access),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", Sort::Access),
    ("certificates.k8s.io", "CertificateSigningRequest", Sort::Access),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", Sort::Access),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", Sort::Access),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", Sort::Access),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", Sort::Access),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", Sort::Access),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", Sort::Access),
    ("authentication.k8s.io", "TokenRequest", Sort::Access),
    ("authentication.k8s.io", "TokenReview", Sort::Access),
    ("authentication.k8s.io", "SelfSubjectReview", Sort::Access),
    ("authorization.k8s.io", "SubjectAccessReview", Sort::Access),
    ("authorization.k8s.io", "LocalSubjectAccessReview", Sort::Access),
    ("authorization.k8s.io", "SelfSubjectAccessReview", Sort::Access),
    ("authorization.k8s.io", "SelfSubjectRulesReview", Sort::Access),
    ("apiextensions.k8s.io", "CustomResourceDefinition", Sort::Access),
    ("apiregistration.k8s.io", "APIService", Sort::Access),
];

/// The most levels of lists of lists. There is one in what programs write.
const LISTS: usize = 2;

impl Object {
    /// `shop/web`, or `shop/*` where it is all of them.
    pub(super) fn full_name(&self) -> String {
        self.beside(self.name.as_deref().unwrap_or("*"))
    }

    /// What is called that in the same namespace.
    pub(super) fn beside(&self, name: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    /// `apps/Deployment`, or `Secret`.
    pub(super) fn full_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}/{}", self.group, self.kind) }
    }
}

/// What is called that. Without a group the kind says which it is.
pub(super) fn named(
    api_version: Option<&str>,
    kind: &str,
    (namespace, name): (Option<&str>, Option<&str>),
) -> Result<Object, Why> {
    let group = api_version.map(group).transpose()?;
    let known = KINDS.iter().find(|(of, known, _)| *known == kind && group.is_none_or(|group| group == *of));
    let sort = known.map_or(Sort::Unlisted, |(.., sort)| *sort);
    let group = group.or(known.map(|(of, ..)| *of)).unwrap_or_default();
    if !is_kind(kind) {
        return Err("kind");
    }
    let text = |name: Option<&str>| match name {
        None | Some("") => Ok(None),
        Some(name) if is_name(name) => Ok(Some(name.to_owned())),
        Some(_) => Err("name"),
    };
    let (namespace, name) = (text(namespace)?, text(name)?);
    Ok(Object {
        group: group.to_owned(),
        kind: kind.to_owned(),
        sort,
        namespace,
        name,
        risks: BTreeSet::new(),
        secrets: BTreeSet::new(),
    })
}

/// The objects of a text. `namespace` is what is said beside it.
pub(super) fn read(text: &str, namespace: Option<&str>) -> Result<Vec<Object>, Why> {
    let mut objects = Vec::new();
    for document in node::read(text)? {
        collect(&document, namespace, LISTS, &mut objects)?;
    }
    Ok(objects)
}

fn collect(node: &Node, namespace: Option<&str>, lists: usize, into: &mut Vec<Object>) -> Result<(), Why> {
    let (inner, members) = match node {
        Node::List(items) => (items, None),
        Node::Map(members) => {
            as_written(members, &["apiVersion", "kind", "metadata", "items"])?;
            match (text(members, "kind")?, members.get("items")) {
                (Some("List"), Some(Node::List(items))) => (items, None),
                (Some("List") | None, _) | (_, Some(_)) => return Err("kind"),
                (Some(_), None) => (&Vec::new(), Some(members)),
            }
        }
        Node::Text(_) | Node::Flag(_) | Node::Other => return Err("object"),
    };
    if let Some(members) = members {
        into.push(object(members, namespace)?);
        return Ok(());
    }
    let lists = lists.checked_sub(1).ok_or("depth")?;
    inner.iter().try_for_each(|item| collect(item, namespace, lists, into))
}

fn object(members: &BTreeMap<String, Node>, beside: Option<&str>) -> Result<Object, Why> {
    let kind = text(members, "kind")?.ok_or("kind")?;
    let api_version = text(members, "apiVersion")?.ok_or("api-version")?;
    let none = BTreeMap::new();
    let metadata = match members.get("metadata") {
        Some(Node::Map(metadata)) => metadata,
        None => &none,
        Some(Node::Text(_) | Node::Flag(_) | Node::Other | Node::List(_)) => return Err("object"),
    };
    as_written(metadata, &["name", "namespace", "generateName"])?;
    let within = text(metadata, "namespace")?;
    if let (Some(within), Some(beside)) = (within, beside)
        && within != beside
    {
        return Err("namespace");
    }
    let named_so = text(metadata, "name")?;
    let mut object = named(Some(api_version), kind, (within.or(beside), named_so))?;
    if named_so.is_none()
        && let Some(begins) = text(metadata, "generateName")?.filter(|begins| is_name(&format!("{begins}x")))
    {
        object.name = Some(format!("{begins}*"));
    }
    if matches!(object.sort, Sort::Workload | Sort::Volume) {
        for member in members.values() {
            risks(member, &mut object.risks);
            secrets(member, &mut object.secrets);
        }
    }
    Ok(object)
}

/// What pods could reach beyond themselves, wherever in an object it stands and however it is capitalised.
fn risks(node: &Node, found: &mut BTreeSet<&'static str>) {
    match node {
        Node::Map(members) => {
            for (name, value) in members {
                found.extend(risk(&name.to_ascii_lowercase(), value));
                risks(value, found);
            }
        }
        Node::List(items) => items.iter().for_each(|item| risks(item, found)),
        Node::Text(_) | Node::Flag(_) | Node::Other => {}
    }
}

/// What a member lets pods reach; `name` is in small letters.
fn risk(name: &str, value: &Node) -> Option<&'static str> {
    let is_set = *value != Node::Flag(false);
    // Labels may be called that as well.
    let is_part = !matches!(value, Node::Text(_));
    match name {
        "privileged" if is_set => Some("privileged"),
        "hostpath" => Some("host-path"),
        "local" if is_part => Some("host-path"),
        "hostnetwork" | "hostpid" | "hostipc" if is_set => Some("host-namespaces"),
        "hostport" => Some("host-port"),
        "hostprocess" if is_set => Some("host-process"),
        "nodename" => Some("node-name"),
        "procmount" if *value != Node::Text("Default".into()) => Some("proc-mount"),
        "seccompprofile" | "apparmorprofile" if !confines(value) => Some("unconfined"),
        "csi" | "flexvolume" | "gitrepo" | "nfs" if is_part => Some("inline-volume"),
        "serviceaccountname" | "serviceaccount" if *value != Node::Text("default".into()) => {
            Some("service-account")
        }
        "capabilities" if !only_drops(value) => Some("capabilities"),
        "allowprivilegeescalation" if is_set => Some("privilege-escalation"),
        "ephemeralcontainers" => Some("ephemeral-container"),
        name if PROFILES.iter().any(|profile| name.starts_with(profile)) => {
            let named = matches!(value, Node::Text(profile) if profile == "runtime/default" || profile.starts_with("localhost/"));
            (!named).then_some("unconfined")
        }
        _ => None,
    }
}

/// Annotations that say the same as profiles do.
const PROFILES: [&str; 3] = [
    "container.apparmor.security.beta.kubernetes.io",
    "container.seccomp.security.alpha.kubernetes.io",
    "seccomp.security.alpha.kubernetes.io",
];

fn confines(profile: &Node) -> bool {
    matches!(profile, Node::Map(members) if matches!(
        members.get("type"),
        Some(Node::Text(kind)) if kind == "RuntimeDefault" || kind == "Localhost"
    ) && as_written(members, &["type"]).is_ok())
}

/// The secrets that pods are given, as files or in their environment.
fn secrets(node: &Node, found: &mut BTreeSet<String>) {
    let name = |value: &Node| match value {
        Node::Text(name) if is_name(name) => name.clone(),
        Node::Text(_) | Node::Flag(_) | Node::Other | Node::List(_) | Node::Map(_) => "*".to_owned(),
    };
    match node {
        Node::Map(members) => {
            for (member, value) in members {
                match (member.to_ascii_lowercase().as_str(), value) {
                    ("secretname", value) => _ = found.insert(name(value)),
                    ("secretref" | "secretkeyref", Node::Map(about)) => {
                        let named = about.iter().filter(|(member, _)| member.eq_ignore_ascii_case("name"));
                        let mut named: Vec<String> = named.map(|(_, value)| name(value)).collect();
                        if named.is_empty() {
                            named.push("*".into());
                        }
                        found.extend(named);
                    }
                    // What it brings together can be a secret, or a token.
                    ("secretref" | "secretkeyref" | "projected", _) => _ = found.insert("*".into()),
                    _ => {}
                }
                secrets(value, found);
            }
        }
        Node::List(items) => items.iter().for_each(|item| secrets(item, found)),
        Node::Text(_) | Node::Flag(_) | Node::Other => {}
    }
}

fn only_drops(capabilities: &Node) -> bool {
    matches!(capabilities, Node::Map(members) if members.keys().all(|name| name == "drop"))
}

/// Some readers take members for others that are only capitalised differently.
fn as_written(members: &BTreeMap<String, Node>, known: &[&str]) -> Result<(), Why> {
    let is_alike =
        |name: &String| known.iter().any(|known| *known != name && known.eq_ignore_ascii_case(name));
    if members.keys().any(is_alike) { Err("capitals") } else { Ok(()) }
}

fn text<'n>(members: &'n BTreeMap<String, Node>, name: &str) -> Result<Option<&'n str>, Why> {
    match members.get(name) {
        None => Ok(None),
        Some(Node::Text(text)) => Ok(Some(text)),
        Some(Node::Flag(_) | Node::Other | Node::List(_) | Node::Map(_)) => Err("object"),
    }
}

/// `apps` of `apps/v1`, nothing of `v1`.
fn group(api_version: &str) -> Result<&str, Why> {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
    };
    match api_version.split_once('/') {
        None if plain(api_version) => Ok(""),
        Some((group, version)) if plain(group) && plain(version) => Ok(group),
        None | Some(_) => Err("api-version"),
    }
}

fn is_kind(kind: &str) -> bool {
    (1..=64).contains(&kind.len())
        && kind.starts_with(|first: char| first.is_ascii_uppercase())
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A name of an object, which no tool takes for an option or a way to somewhere else.
fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte))
}
