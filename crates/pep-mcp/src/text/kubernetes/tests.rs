//! What objects come to: a golden list, evasions first of all.

use super::*;
use crate::classify::Surroundings;
use countersign_core::{EnvironmentName, TargetName};

fn texts() -> KubernetesTexts {
    let around = Surroundings {
        target: TargetName::new("shop").unwrap(),
        environment: EnvironmentName::new("prod").unwrap(),
        labels: ["cluster".to_owned()].into(),
    };
    KubernetesTexts::new(Place::new(&around, &BTreeSet::new()))
}

async fn read(verb: &str, namespace: Option<&str>, about: About) -> Effect {
    let text = KubernetesText { verb: verb.into(), namespace: namespace.map(str::to_owned), about };
    texts().read(&text.to_string()).await.unwrap()
}

async fn object(verb: &str, text: &str) -> Effect {
    read(verb, None, About::Object(text.into())).await
}

fn whole(api_version: &str, kind: &str, more: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x, namespace: shop}}\n{more}")
}

#[tokio::test]
#[rustfmt::skip]
async fn what_is_done_to_a_kind_has_its_class() {
    use Class::{Administer, Configure, Connect, Delete, Execute, Export, Read, Unknown};
    for (verb, api_version, kind, class) in [
        ("get", "v1", "Pod", Read), ("list", "apps/v1", "Deployment", Read), ("logs", "v1", "Pod", Read),
        ("get", "v1", "Secret", Export), ("list", "v1", "Secret", Export), ("watch", "v1", "Secret", Export), ("describe", "v1", "Secret", Export),
        ("get", "rbac.authorization.k8s.io/v1", "Role", Read), ("get", "v1", "ConfigMap", Read),
        ("apply", "apps/v1", "Deployment", Execute), ("patch", "apps/v1", "StatefulSet", Execute), ("restart", "apps/v1", "DaemonSet", Execute),
        ("create", "apps/v1", "ReplicaSet", Execute), ("label", "v1", "Pod", Configure), ("annotate", "batch/v1", "Job", Configure), ("label", "v1", "Namespace", Administer),
        ("restart", "v1", "ConfigMap", Configure), ("apply", "v1", "PersistentVolume", Configure), ("get", "authorization.k8s.io/v1", "SubjectAccessReview", Read),
        ("proxy", "v1", "Node", Administer), ("scale", "apps/v1", "Deployment", Configure), ("patch", "v1", "ConfigMap", Configure),
        ("create", "v1", "Pod", Execute), ("create", "batch/v1", "Job", Execute), ("apply", "batch/v1", "CronJob", Execute),
        ("apply", "v1", "Secret", Administer), ("create", "v1", "ServiceAccount", Administer), ("apply", "v1", "Namespace", Administer),
        ("apply", "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", Administer), ("patch", "v1", "Node", Administer),
        ("create", "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", Administer),
        ("create", "authentication.k8s.io/v1", "TokenRequest", Administer), ("apply", "networking.k8s.io/v1", "NetworkPolicy", Administer),
        ("delete", "v1", "Pod", Delete), ("delete", "v1", "Secret", Delete), ("delete", "v1", "Namespace", Delete),
        ("deletecollection", "apps/v1", "Deployment", Delete), ("delete", "rbac.authorization.k8s.io/v1", "Role", Administer),
        ("exec", "v1", "Pod", Execute), ("port-forward", "v1", "Pod", Connect), ("proxy", "v1", "Service", Connect),
        // Nobody knows what these are.
        ("get", "v1", "secret", Unknown), ("get", "v1", "secrets", Unknown), ("get", "v1", "Secrets", Unknown), ("get", "v1", "SECRET", Unknown),
        ("get", "example.com/v1", "Widget", Unknown), ("get", "example.com/v1", "Secret", Unknown), ("get", "apps/v1", "Secret", Unknown),
        ("get", "rbac.authorization.k8s.io/v1", "Secret", Unknown), ("apply", "extensions/v1beta1", "Deployment", Unknown),
        ("get", "V1", "Pod", Unknown), ("get", "v1/", "Pod", Unknown), ("get", "a/b/c", "Pod", Unknown), ("get", "v1", "Pod/exec", Unknown),
        ("Get", "v1", "Pod", Unknown), ("GET", "v1", "Pod", Unknown), ("", "v1", "Pod", Unknown), ("impersonate", "v1", "Pod", Unknown),
        ("get", "rbac.authorization.k8s.io/v1", "Secrets", Unknown), ("get", "rbac.authorization.k8s.io/v1", "Roles", Unknown),
        ("get", "certificates.k8s.io/v1", "Thing", Unknown), ("apply", "admissionregistration.k8s.io/v1", "Thing", Unknown), ("get", "v1", "POD", Unknown),
        ("get;delete", "v1", "Pod", Unknown), ("get", "v1", "Binding", Unknown),
    ] {
        let effect = object(verb, &whole(api_version, kind, "")).await;
        assert_eq!(effect.operation.class, class, "{verb} {api_version} {kind}: {}", effect.sentence);
        let about = About::Named { api_version: Some(api_version.into()), kind: kind.into(), name: Some("x".into()) };
        let effect = read(verb, Some("shop"), about).await;
        // What an object would be is not in its name.
        let class = if BY_CONTENT.contains(&verb) { Unknown } else { class };
        assert_eq!(effect.operation.class, class, "{verb} {api_version} {kind} by its name: {}", effect.sentence);
        assert_eq!(effect.operation.name.unwrap(), format!("kubernetes.{}", class.as_str()));
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn an_object_that_two_readers_could_read_differently_is_not_understood() {
    let pod = whole("v1", "ConfigMap", "");
    for text in [
        format!("{pod}kind: Secret\n"), format!("{pod}Kind: Secret\n"), format!("{pod}KIND: Secret\n"), format!("{pod}apiversion: v2\n"),
        format!("{pod}items: []\n"), format!("{pod}<<: {{kind: Secret}}\n"), format!("a: &a Secret\n{pod}"),
        "apiVersion: v1\nkind: !!str ConfigMap\n".to_owned(), "kind: ConfigMap".to_owned(), "apiVersion: v1".to_owned(),
        "apiVersion: v1\nkind: [ConfigMap]\n".to_owned(), "apiVersion: v1\nkind: null\n".to_owned(), "just text".to_owned(), "1".to_owned(),
        String::new(), "[]".to_owned(), "{}".to_owned(), "a: [".to_owned(), "[[[{apiVersion: v1, kind: Pod}]]]".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, Name: y}".to_owned(), "apiVersion: v1\nkind: ConfigMap\nmetadata: [x]".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: on}".to_owned(), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 010}".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'a/../b'}".to_owned(), "apiVersion: v1\nkind: List\nitems: {a: b}".to_owned(),
        "apiVersion: v1\nkind: ConfigMapList\nitems: []".to_owned(), "apiVersion: v1\nkind: List".to_owned(),
        "[{\"op\": \"replace\", \"path\": \"/x\", \"value\": 1}]".to_owned(), "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"\\u006bind\":\"Secret\"}".to_owned(),
    ] {
        for verb in ["get", "apply"] {
            let effect = object(verb, &text).await;
            assert_eq!(effect.operation.class, Class::Unknown, "{text}: {}", effect.sentence);
            assert_eq!(effect.facts["understood"], json!(false));
        }
    }
    // What the call says beside the object is not what the object says.
    let effect = read("get", Some("kube-system"), About::Object(pod.clone())).await;
    assert_eq!((effect.operation.class, &effect.facts["reasons"]), (Class::Unknown, &json!(["namespace"])));
    let about = |kind: &str, name: &str| About::Named { api_version: None, kind: kind.into(), name: Some(name.into()) };
    for (kind, name) in [("Pod", "a b"), ("Pod", "a/exec"), ("pods", "a"), ("Pod\n", "a"), ("po", "a"), ("Pod", "--all"), ("Pod", "-A"), ("Pod", ".."), ("Pod", "a-"), ("Pod", ":a")] {
        assert_eq!(read("get", None, about(kind, name)).await.operation.class, Class::Unknown, "{kind} {name}");
    }
    for namespace in ["..", "--all-namespaces", "-A", "a."] {
        let effect = read("get", Some(namespace), about("Pod", "a")).await;
        assert_eq!((effect.operation.class, &effect.facts["reasons"]), (Class::Unknown, &json!(["name"])), "{namespace}");
    }
    assert_eq!(read("get", None, about("Secret", "a")).await.operation.class, Class::Export);
    assert_eq!(texts().read("nonsense").await.unwrap().operation.class, Class::Unknown);
}

#[tokio::test]
#[rustfmt::skip]
async fn pods_that_reach_beyond_themselves_are_as_grave_as_who_may_do_what() {
    let of = |spec: &str| whole("apps/v1", "Deployment", &format!("spec: {{template: {{spec: {{{spec}}}}}}}"));
    for (spec, reason) in [
        ("containers: [{securityContext: {privileged: true}}]", "privileged"),
        ("containers: [{securityContext: {privileged: yes}}]", "privileged"),
        ("containers: [{securityContext: {Privileged: 'true'}}]", "privileged"),
        ("initContainers: [{securityContext: {privileged: true}}]", "privileged"),
        ("containers: [{securityContext: {capabilities: {add: [SYS_ADMIN]}}}]", "capabilities"),
        ("containers: [{securityContext: {allowPrivilegeEscalation: true}}]", "privilege-escalation"),
        ("volumes: [{hostPath: {path: /}}]", "host-path"), ("hostNetwork: true", "host-namespaces"), ("hostPID: on", "host-namespaces"),
        ("serviceAccountName: admin", "service-account"), ("containers: [{ports: [{hostPort: 1}]}]", "host-port"),
        ("securityContext: {windowsOptions: {hostProcess: true}}", "host-process"), ("containers: [{securityContext: {procMount: Unmasked}}]", "proc-mount"),
        ("securityContext: {seccompProfile: {type: Unconfined}}", "unconfined"), ("securityContext: {appArmorProfile: {type: Unconfined}}", "unconfined"),
        ("securityContext: {seccompProfile: {Type: Unconfined, type: RuntimeDefault}}", "unconfined"), ("securityContext: {seccompProfile: null}", "unconfined"),
        ("volumes: [{csi: {driver: x}}]", "inline-volume"), ("volumes: [{flexVolume: {driver: x}}]", "inline-volume"), ("volumes: [{gitRepo: {}}]", "inline-volume"),
        ("volumes: [{nfs: {server: x}}]", "inline-volume"), ("nodeName: x", "node-name"), ("NodeName: x", "node-name"),
    ] {
        let effect = object("apply", &of(spec)).await;
        assert_eq!((effect.operation.class, &effect.facts["reasons"]), (Class::Administer, &json!([reason])), "{spec}");
        assert!(effect.sentence.contains(reason));
    }
    for spec in [
        "containers: [{image: nginx, securityContext: {privileged: false, capabilities: {drop: [ALL]}, allowPrivilegeEscalation: false}}]",
        "hostNetwork: false", "serviceAccountName: default", "securityContext: {seccompProfile: {type: RuntimeDefault}, procMount: Default}",
    ] {
        assert_eq!(object("apply", &of(spec)).await.operation.class, Class::Execute, "{spec}");
    }
    let annotated = |profile: &str| format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: x, annotations: {{container.apparmor.security.beta.kubernetes.io/web: {profile}}}}}\n"
    );
    let effect = object("apply", &annotated("unconfined")).await;
    assert_eq!((effect.operation.class, &effect.facts["reasons"]), (Class::Administer, &json!(["unconfined"])));
    assert_eq!(object("apply", &annotated("runtime/default")).await.operation.class, Class::Execute);
    for spec in ["hostPath: {path: /}", "local: {path: /}", "HostPath: {path: /}"] {
        let effect = object("apply", &whole("v1", "PersistentVolume", &format!("spec: {{{spec}}}"))).await;
        assert_eq!((effect.operation.class, &effect.facts["reasons"]), (Class::Administer, &json!(["host-path"])), "{spec}");
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn a_secret_that_a_pod_is_given_goes_out_with_it() {
    for (spec, names) in [
        ("containers: [{envFrom: [{secretRef: {name: s}}]}]", &["shop/s"][..]),
        ("containers: [{env: [{name: a, valueFrom: {secretKeyRef: {name: s, key: k}}}, {valueFrom: {SecretKeyRef: {Name: t}}}]}]", &["shop/s", "shop/t"]),
        ("volumes: [{secret: {secretName: s}}]", &["shop/s"]), ("volumes: [{secret: {secretName: 1}}]", &["shop/*"]),
        ("volumes: [{projected: {sources: [{secret: {name: s}}]}}]", &["shop/*"]), ("containers: [{envFrom: [{secretRef: {}}]}]", &["shop/*"]),
    ] {
        let effect = object("apply", &whole("v1", "Pod", &format!("spec: {{{spec}}}"))).await;
        assert_eq!((effect.operation.class, &effect.facts["reasons"]), (Class::Execute, &json!(["secret"])), "{spec}");
        let about: Vec<usize> = (1..=names.len()).collect();
        let want = json!([
            {"operation": "kubernetes.execute", "resources": [0]},
            {"operation": "kubernetes.export", "resources": about},
        ]);
        assert_eq!(effect.facts["effects"], want, "{spec}");
        let secrets: Vec<&str> = effect.resources.iter().filter(|one| one.kind == "Secret").map(|one| one.name.as_str()).collect();
        assert_eq!(secrets, names, "{spec}");
        assert_eq!(object("get", &whole("v1", "Pod", &format!("spec: {{{spec}}}"))).await.operation.class, Class::Read);
    }
}

#[tokio::test]
async fn several_objects_are_several_effects() {
    let (web, role) = (
        whole("apps/v1", "Deployment", ""),
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {generateName: r-}\n",
    );
    let effect = object("apply", &format!("{web}\n---\n{role}")).await;
    assert_eq!(
        effect.sentence,
        "Apply Deployment “shop/x”, ClusterRole “r-*” in Kubernetes (prod, labelled cluster)."
    );
    let want = json!([
        {"operation": "kubernetes.administer", "resources": [1]},
        {"operation": "kubernetes.execute", "resources": [0]},
    ]);
    assert_eq!(effect.facts["effects"], want);
    assert_eq!(effect.facts["kinds"], json!(["apps/Deployment", "rbac.authorization.k8s.io/ClusterRole"]));
    assert_eq!(effect.facts["namespaces"], json!(["shop"]));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}},
    ]});
    let effect = object("get", &list.to_string()).await;
    assert_eq!(effect.sentence, "Get Secret “shop/s”, Pod “shop/p” in Kubernetes (prod, labelled cluster).");
    assert_eq!(effect.operation.class, Class::Export);
    let all =
        read("delete", Some("shop"), About::Named { api_version: None, kind: "Pod".into(), name: None })
            .await;
    assert_eq!(all.sentence, "Delete Pod “shop/*” (without-name) in Kubernetes (prod, labelled cluster).");
}
