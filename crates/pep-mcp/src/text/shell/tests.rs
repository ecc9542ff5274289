//! What lines do: a golden list, evasions first of all.

use super::*;
use crate::classify::Surroundings;
use countersign_core::{EnvironmentName, TargetName};

fn texts() -> ShellTexts {
    let around = Surroundings {
        target: TargetName::new("shop").unwrap(),
        environment: EnvironmentName::new("prod").unwrap(),
        labels: ["finance".to_owned()].into(),
    };
    ShellTexts::new(Place::new(&around, &["host".to_owned()].into()))
}

async fn read(line: &str) -> Effect {
    texts().read(line).await.unwrap()
}

#[tokio::test]
#[rustfmt::skip]
async fn a_line_is_as_grave_as_the_gravest_of_its_commands() {
    use Class::{Administer, Configure, Connect, Delete, Execute, Export, Read, Unknown, Write};
    for (line, class) in [
        ("ls -la /srv", Read), ("/bin/ls", Read), ("cat /etc/hosts | grep -v '#' | sort -u", Read),
        ("find /var/log -name '*.log' -mtime +7", Read), ("head -n 5 x", Read), ("tail -20 x", Read), ("df -h", Read),
        ("cat x 2>/dev/null", Read), ("echo hello", Read), ("date +%s", Read), ("systemctl status nginx --no-pager", Read),
        ("cd /srv && ls", Read), ("ps aux", Read), ("grep -e a -- -x", Read), ("uniq a", Read),
        ("mkdir -p /srv/a", Write), ("echo x > /srv/a", Write), ("cat a >> b", Write), ("ls | tee out", Write),
        ("cp -r a b", Write), ("mv a b", Delete), ("ln -s a b", Write), ("echo x>a", Write),
        ("rm x", Delete), ("rm -rf /srv/a", Delete), ("r'm' x", Delete), ("'rm' x", Delete), ("/bin/rm x", Delete),
        ("ls; rm x", Delete), ("ls && rm x", Delete), ("ls || rm x", Delete), ("ls | rm x", Delete), ("rm x | ls", Delete),
        ("find . -name x -delete", Delete), ("truncate -s 0 x", Delete), ("rm -- -x", Delete), ("echo x > a; rm b", Delete),
        ("pg_dump -d shop", Export), ("pg_dump -d shop > out.sql", Export),
        ("systemctl enable nginx", Configure), ("systemctl restart nginx", Execute), ("kill -9 1", Execute), ("reboot", Execute),
        ("chmod -R 777 /srv", Administer), ("chown root x", Administer), ("chmod -x f", Administer), ("useradd -m eve", Administer),
        ("ping -c 1 example.com", Connect),
        // Programs that run others, that read programs, or that nobody has listed.
        ("sudo ls", Unknown), ("env ls", Unknown), ("env rm x", Unknown), ("xargs rm", Unknown), ("ls | xargs rm", Unknown),
        ("sh -c 'ls'", Unknown), ("bash -c ls", Unknown), ("cat x | sh", Unknown), ("eval ls", Unknown), ("exec ls", Unknown),
        ("source x", Unknown), (". x", Unknown), ("command ls", Unknown), ("builtin cd", Unknown), ("nohup ls", Unknown),
        ("time ls", Unknown), ("timeout 5 ls", Unknown), ("watch ls", Unknown), ("parallel ls", Unknown), ("ssh host ls", Unknown),
        ("python3 -c 'print(1)'", Unknown), ("perl -e 1", Unknown), ("awk '{print}' x", Unknown), ("sed -n p x", Unknown),
        ("dd if=/dev/zero of=x", Unknown), ("tar xf x", Unknown), ("curl http://example.com", Unknown), ("wget x", Unknown),
        ("git status", Unknown), ("vi x", Unknown), ("less x", Unknown), ("man ls", Unknown), ("docker run x", Unknown),
        ("kubectl get pods", Unknown), ("psql -c 'select 1'", Unknown), ("nc -l 1", Unknown), ("crontab x", Unknown),
        ("alias ls=rm", Unknown), ("export PATH=/x", Unknown), ("unset PATH", Unknown), ("set -x", Unknown), ("printf -v x y", Unknown),
        ("trap x EXIT", Unknown), ("enable -f x y", Unknown), ("if true", Unknown), ("then rm x", Unknown), ("function ls", Unknown),
        ("./ls", Unknown), ("/tmp/ls", Unknown), ("/bin/../tmp/ls", Unknown), ("/usr/local/bin/ls", Unknown), ("LS", Unknown), ("''", Unknown),
        // Options that make something else of a harmless program.
        ("find . -exec rm x", Unknown), ("find . -fprint x", Unknown), ("find . -ok rm", Unknown), ("find . -name x -execdir rm x", Unknown),
        ("sort -o x y", Unknown), ("sort --output=x y", Unknown), ("sort --compress-program=x y", Unknown), ("date -s 0", Unknown),
        ("date 010100002030", Unknown), ("hostname evil", Unknown), ("uniq a b", Unknown), ("ls --color=x --hyperlink", Unknown),
        ("grep --rec x", Unknown), ("file -C", Unknown), ("tail --pid=1 x", Unknown), ("systemctl -H host status x", Unknown),
        ("systemctl edit x", Unknown), ("systemctl status -H x", Unknown), ("pg_dump -f x", Unknown), ("rm --files-from=x", Unknown),
        // Files that are no files, or not where they seem to be.
        ("cat /dev/tcp/a/1", Unknown), ("echo x > /dev/tcp/a/1", Unknown), ("echo x > /dev/sda", Unknown), ("echo b > /proc/sysrq-trigger", Unknown), ("cat /proc/self/environ", Unknown), ("cd /sys", Unknown), ("echo x > ../../dev/sda", Unknown), ("cd / && echo x > dev/sda", Unknown), ("cat /srv/../etc/shadow", Unknown),
        ("cat /srv//x", Unknown), ("cat /srv/./x", Unknown), ("cat ''", Unknown), ("cat /..", Unknown), ("echo x > a/../b", Unknown),
        // What the shell would make something of.
        ("ls $(rm x)", Unknown), ("ls `rm x`", Unknown), ("ls $HOME", Unknown), ("ls${IFS}-l", Unknown), ("ls\nrm x", Unknown),
        ("ls & rm x", Unknown), ("ls *", Unknown), ("cat <<X", Unknown), ("cat <(rm x)", Unknown), ("X=1 ls", Unknown), ("ls 'x", Unknown),
        ("r\\m x", Unknown), ("ls # x", Unknown), ("(rm x)", Unknown), ("{ rm x; }", Unknown), ("! ls", Unknown), ("", Unknown), ("ls;", Unknown),
        ("ls && sudo reboot", Unknown), ("ls \u{202e}x", Unknown), ("ls\u{a0}x", Unknown), ("ｌs", Unknown),
    ] {
        let effect = read(line).await;
        assert_eq!(effect.operation.class, class, "{line}: {} {}", effect.sentence, effect.facts["reasons"]);
        assert_eq!(effect.operation.name.unwrap(), format!("shell.{}", class.as_str()));
        assert_eq!(effect.facts["understood"], json!(class != Unknown), "{line}");
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn no_file_is_lost_however_the_line_is_turned() {
    use Class::{Administer, Configure, Delete, Execute, Read, Unknown, Write};
    let (key, none): (&str, &[&str]) = ("/srv/keys/a", &[]);
    for (line, class, paths, writes) in [
        // A dash is standard input to some, a file to others, and counts for all.
        ("cat -", Read, none, none), ("cat - /srv/keys/a", Read, &[key], &[]), ("uniq -", Read, &[], &[]), ("md5sum -", Read, &[], &[]),
        ("uniq - /etc/sudoers.d/eve", Unknown, &[], &[]), ("uniq -- - out", Unknown, &[], &[]), ("uniq -c - out", Unknown, &[], &[]),
        ("uniq a -c", Unknown, &[], &[]), ("uniq a --", Unknown, &[], &[]), ("uniq +1 a", Unknown, &[], &[]), ("cd -", Unknown, &[], &[]),
        ("grep - /srv/keys/a", Read, &[key], &[]), ("grep -e x - /srv/keys/a", Read, &[key], &[]), ("grep x -", Read, &[], &[]),
        ("cp n /srv/keys/a -", Write, &["-", key, "n"], &["-"]), ("mv x -", Delete, &["-", "x"], &["-", "x"]), ("rm -- -", Delete, &["-"], &["-"]),
        ("tee -", Write, &["-"], &["-"]), ("touch -", Write, &["-"], &["-"]), ("chmod 0 -", Administer, &["-"], &["-"]),
        // Numbers are options as whole words at the front.
        ("head -20 /srv/keys/a", Read, &[key], &[]), ("tail -1", Read, &[], &[]), ("head -99999c /srv/keys/a", Unknown, &[], &[]), ("head -5q x", Unknown, &[], &[]),
        ("head -c5 /srv/keys/a", Read, &[key], &[]), ("tail -5f x", Unknown, &[], &[]), ("head x -5", Unknown, &[], &[]), ("head -q -5 x", Unknown, &[], &[]), ("head -# x", Unknown, &[], &[]),
        // What is a value to one reader and a file to another.
        ("head x -n /srv/keys/a", Unknown, &[], &[]), ("head x --lines=5", Unknown, &[], &[]), ("sort x -k /srv/keys/a", Unknown, &[], &[]), ("grep x y -e z", Unknown, &[], &[]),
        ("ls x -la", Read, &["x"], &[]), ("cp a b -r", Unknown, &[], &[]), ("mv a b -v", Unknown, &[], &[]), ("cat x -- /srv/keys/a", Read, &[key, "x"], &[]),
        // A mode that is an option.
        ("chmod -x f", Administer, &["f"], &["f"]), ("chmod -R -rwx /srv/keys", Administer, &["/srv/keys"], &["/srv/keys"]), ("chmod -w a b", Administer, &["a", "b"], &["a", "b"]),
        ("chmod 777 f", Administer, &["f"], &["f"]), ("chown -R eve f", Administer, &["f"], &["f"]), ("chown -x f", Unknown, &[], &[]),
        // What shows the environment of others.
        ("ps aux", Read, &[], &[]), ("ps -ef", Read, &[], &[]), ("ps axewww", Unknown, &[], &[]), ("ps auxe", Unknown, &[], &[]), ("ps e", Unknown, &[], &[]),
        ("ps -axue", Unknown, &[], &[]), ("ps -e aux", Unknown, &[], &[]), ("ps aux ax", Unknown, &[], &[]), ("systemctl show x", Unknown, &[], &[]),
        ("systemctl enable x", Configure, &[], &[]), ("systemctl restart x", Execute, &[], &[]), ("systemctl enable /tmp/evil.service", Unknown, &[], &[]),
        // What is moved is not there any more.
        ("mv /srv/keys/a /tmp/x", Delete, &[key, "/tmp/x"], &[key, "/tmp/x"]), ("cp /srv/keys/a /tmp/x", Write, &[key, "/tmp/x"], &["/tmp/x"]),
        ("mv a", Unknown, &[], &[]), ("mv -t b a", Unknown, &[], &[]),
        ("find '!' -name keep -delete", Unknown, &[], &[]), ("find '(' -name keep ')' -delete", Unknown, &[], &[]), ("find a '!' -name x", Unknown, &[], &[]),
        ("find a -not -name x -delete", Delete, &["a"], &["a"]),
    ] {
        let effect = read(line).await;
        assert_eq!(effect.operation.class, class, "{line}: {} {}", effect.sentence, effect.facts["reasons"]);
        assert_eq!((&effect.facts["paths"], &effect.facts["writes"]), (&json!(paths), &json!(writes)), "{line}");
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn what_takes_the_place_of_something_says_so() {
    for (line, overwrites) in [
        ("echo x > a", true), ("echo x >> a", false), ("cat x 2>/dev/null", false), ("echo x >> a 2>b", true),
        ("cp a b", true), ("cp -n a b", false), ("cp -nf a b", true), ("mv a b", true), ("mv -n a b", false),
        ("ls | tee a", true), ("ls | tee -a a", false), ("ln -s a b", false), ("ln -sf a b", true), ("touch a", false),
    ] {
        let effect = read(line).await;
        let reasons = effect.facts["reasons"].as_array().unwrap();
        assert_eq!(reasons.contains(&json!("overwrites")), overwrites, "{line}: {reasons:?}");
    }
    for line in ["cp -a a b", "cp -r a b", "rm -R a", "grep -r x a", "find a"] {
        let effect = read(line).await;
        assert!(effect.facts["reasons"].as_array().unwrap().contains(&json!("recursive")), "{line}");
    }
}

#[tokio::test]
async fn each_command_is_an_effect_with_its_own_files() {
    let effect = read("cat /srv/in | tee /srv/out && rm -rf /srv/old").await;
    assert_eq!(
        effect.sentence,
        "Read “/srv/in” (cat); Write “/srv/out” (tee); Delete “/srv/old” with everything below (rm) in a shell \
         (prod, labelled finance, host)."
    );
    let names: Vec<&str> = effect.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["/srv/in", "/srv/out", "/srv/old"]);
    assert!(effect.resources.iter().all(|resource| resource.labels.len() == 2 && resource.kind == "path"));
    let want = json!([
        {"operation": "shell.delete", "resources": [2]},
        {"operation": "shell.write", "resources": [1]},
        {"operation": "shell.read", "resources": [0]},
    ]);
    assert_eq!(effect.facts["effects"], want);
    assert_eq!(effect.facts["programs"], json!(["cat", "rm", "tee"]));
    assert_eq!(effect.facts["writes"], json!(["/srv/old", "/srv/out"]));
    assert_eq!(effect.facts["reasons"], json!(["forced", "overwrites", "recursive", "several-commands"]));
    let unread = read("rm x; $(id)").await;
    assert_eq!(
        unread.sentence,
        "Run a line in a shell that nobody can be certain of (substitution) (prod, labelled finance, host)."
    );
}

#[tokio::test]
async fn what_names_too_much_is_understood_by_nobody() {
    let files: Vec<String> = (0..300).map(|number| format!("f{number}")).collect();
    let effect = read(&format!("cat {}", files.join(" "))).await;
    assert_eq!((effect.operation.class, effect.resources.len()), (Class::Unknown, 1));
    assert_eq!(texts().possible().len(), Class::ALL.len());
}
