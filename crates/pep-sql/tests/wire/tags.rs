//! What an agent's token says is looked at for every statement of its session, as for the first.

use crate::{names::stage_under, stage::POLICY, stage::finished};

const MAIN: &str = r#"
@id("not-from-main") @reason("nothing of main reads here")
forbid (principal, action in Action::"read", resource)
when { principal.hasTag("ref") && principal.getTag("ref") == "main" };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_what_a_token_says_holds_for_every_statement() {
    let stage = stage_under(&format!("{POLICY}{MAIN}")).await;
    let sql = "select count(*) from orders";
    assert_eq!(stage.run(sql).await.out, "100");
    let mut command = stage.psql();
    command.env("PGPASSWORD", "main-token").args(["-c", sql, "-c", sql, "-c", sql]);
    let said = finished(command).await;
    assert_eq!(
        (said.out.as_str(), said.err.matches("nothing of main reads here").count()),
        ("", 3),
        "{said:?}"
    );
}
