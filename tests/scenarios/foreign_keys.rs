//! Foreign keys under the prefix of distsync.

use distsync::ErrorKind;
use distsync::etcd::etcd_client::Client;

use super::steps::{http, refused};
use crate::stores::{Consul, Etcd};

#[tokio::test]
async fn a_foreign_key_under_our_prefix_is_named() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let admin = Client::connect([&address], None).await.unwrap();
    admin
        .kv_client()
        .put("shop/l/a/stray", "x", None)
        .await
        .unwrap();
    refused(
        &format!("etcd://{address}?namespace=shop"),
        ErrorKind::Protocol,
        "shop/l/a/stray",
    )
    .await;

    let consul = Consul::start();
    http(consul.port(), "PUT", "/v1/kv/shop/l/a/stray", "", "x");
    let url = format!("consul://127.0.0.1:{}?namespace=shop", consul.port());
    refused(&url, ErrorKind::Protocol, "shop/l/a/stray").await;
}
