use super::*;
use crate::http;
use std::time::Duration;

#[tokio::test]
async fn the_cloud_wants_its_own_credential_and_counts_only_what_happened() {
    let cloud = Cloud::start("s3cret").await.unwrap();
    let client = http::client(Duration::from_mins(1)).unwrap();
    let status = format!("{}/v1/services/checkout/status", cloud.url());
    for wrong in ["", "Bearer ", "Bearer other", "s3cret", "bearer s3cret"] {
        let asked = client.get(&status).header("authorization", wrong);
        assert_eq!(http::send("cloud", asked).await.unwrap().status, 401, "{wrong}");
    }
    assert_eq!(cloud.effects(), []);
    let asked = client.get(&status).bearer_auth("s3cret");
    assert_eq!(http::send("cloud", asked).await.unwrap().json()["status"], "degraded");
    let listed = http::send("effects", client.get(cloud.effects_url())).await.unwrap().json();
    assert_eq!(listed, serde_json::json!([{ "operation": "serviceStatus", "detail": "checkout" }]));
    let listed = http::send("cloud", client.get(format!("{}/__effects", cloud.url())).bearer_auth("s3cret"));
    assert_eq!(listed.await.unwrap().status, 404, "effects are not part of the API");
}

#[tokio::test]
async fn every_operation_of_the_document_is_served_and_remembered() {
    let cloud = Cloud::start("s3cret").await.unwrap();
    let client = http::client(Duration::from_mins(1)).unwrap();
    let fill = [
        ("{service}", "checkout"),
        ("{role}", "administrator"),
        ("{stage}", "prod"),
        ("{key}", "k"),
        ("fedramp-{area}", "fedramp-east"),
        ("{zone}", "eu-1"),
        ("{database}", "shop"),
        ("{table}", "orders"),
    ];
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut names = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = fill.iter().fold(template.clone(), |path, (place, value)| path.replace(place, value));
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            let body = serde_json::json!({ "member": "bot", "value": "1" });
            let asked =
                client.request(method, format!("{}{path}", cloud.url())).bearer_auth("s3cret").json(&body);
            let answer = http::send("cloud", asked).await.unwrap();
            assert!(answer.is_success(), "{path}: {}", answer.told());
            names.push(operation["operationId"].as_str().unwrap().replace("fedrampRecords", "zoneRecords"));
        }
    }
    let happened: Vec<_> = cloud.effects().into_iter().map(|effect| effect.operation).collect();
    assert_eq!(happened, names);
}

#[test]
fn the_customer_table_is_the_same_on_every_run() {
    let table = customers::csv();
    assert_eq!(table, customers::csv());
    assert_eq!(table.lines().count(), customers::ROWS + 1);
    assert!(table.lines().all(|line| line.split(',').count() == 7), "seven columns in every row");
}
