//! Nodes that do not belong together, and nodes that send nonsense.

use std::path::Path;

use proptest::prelude::*;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::cluster::peers::{Identity, Links, NEWEST_VERSION, TlsSide};
use crate::cluster::proto::{self, refused::Reason, request, response};
use crate::cluster::raft::convert;
use crate::wire::encode;

pub(super) fn identity(
    cluster: u128,
    id: NodeId,
    name: &str,
    tls: Option<PeerTls>,
) -> Arc<Identity> {
    Arc::new(Identity {
        cluster,
        id,
        name: name.to_owned(),
        clients: String::new(),
        tls: tls.map(|files| TlsSide::new(files).unwrap()),
        is_cut_off: tokio::sync::watch::Sender::new(false),
        newest_version: NEWEST_VERSION.into(),
    })
}

/// Asks a node for its vote, in a way that it refuses. Returns why it cannot be reached, if so.
async fn reach(who: Arc<Identity>, id: NodeId, member: &Member) -> Result<response::Body, String> {
    let stop = CancellationToken::new();
    let links = Links::new(who, TaskTracker::new(), stop.clone(), PATIENCE);
    let request = request::Body::Vote(proto::VoteRequest::default());
    let reply = links.to(id, member).call(request).await;
    stop.cancel();
    reply.map_err(|why| why.to_string())
}

#[tokio::test]
async fn a_node_of_another_cluster_or_with_another_id_is_refused() {
    let nodes = Nodes::start(&["a"], 16 << 20).await;
    let (id, member) = (nodes.of("a").id, &nodes.of("a").member);
    for (who, to, why) in [
        (
            identity(CLUSTER + 1, 5, "b", None),
            id,
            "another one: correct its addresses",
        ),
        (
            identity(CLUSTER, 5, "b", None),
            id + 1,
            "a node whose folder was emptied is a new node",
        ),
        (
            identity(CLUSTER, id, "b", None),
            id,
            "have the same id: a data folder was copied",
        ),
    ] {
        let refused = reach(who, to, member).await.unwrap_err();
        assert!(
            refused.contains(why) && refused.contains(&member.address),
            "{refused}"
        );
    }
    // The same request is answered if they belong together.
    let reply = reach(identity(CLUSTER, 5, "b", None), id, member)
        .await
        .unwrap();
    assert!(
        matches!(&reply, response::Body::Refused(why) if why.reason() == Reason::Invalid),
        "{reply:?}"
    );
    nodes.stop().await;
}

/// Sends bytes, and returns the replies until the node closes the connection.
async fn raw(address: &str, bytes: &[u8]) -> Vec<proto::Response> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    // A node that closes with unread bytes resets the connection.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received))
        .await
        .expect("the node closes the connection");
    let mut rest = &received[..];
    let mut replies = Vec::new();
    while let Some((length, message)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        replies.push(proto::Response::decode(&message[..length]).unwrap());
        rest = &message[length..];
    }
    replies
}

fn frames(bodies: Vec<request::Body>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, body) in (1..).zip(bodies) {
        encode(
            &proto::Request {
                id,
                body: Some(body),
            },
            &mut bytes,
        );
    }
    bytes
}

fn greeting(to: NodeId, versions: std::ops::RangeInclusive<u32>) -> request::Body {
    request::Body::Greeting(proto::Greeting {
        oldest_version: *versions.start(),
        newest_version: *versions.end(),
        cluster: CLUSTER.to_le_bytes().to_vec().into(),
        from: 5,
        from_name: "b".to_owned(),
        to,
    })
}

fn refused(reply: &proto::Response) -> Option<&proto::Refused> {
    match &reply.body {
        Some(response::Body::Refused(refused)) => Some(refused),
        _ => None,
    }
}

#[tokio::test]
async fn a_node_of_an_unknown_version_is_refused_and_a_newer_one_may_speak_the_old_one() {
    let nodes = Nodes::start(&["a"], 16 << 20).await;
    let (id, member) = (nodes.of("a").id, &nodes.of("a").member);
    for versions in [0..=0, NEWEST_VERSION + 1..=7] {
        let replies = raw(&member.address, &frames(vec![greeting(id, versions)])).await;
        let why = refused(&replies[0]).unwrap();
        assert_eq!(why.reason(), Reason::Version);
        assert!(why.text.contains("upgrade the older one"), "{}", why.text);
    }
    for (versions, common) in [(0..=1, 1), (1..=9, NEWEST_VERSION)] {
        let replies = raw(&member.address, &frames(vec![greeting(id, versions)])).await;
        match &replies[0].body {
            Some(response::Body::Welcome(welcome)) => assert_eq!(welcome.version, common),
            other => panic!("{other:?}"),
        }
    }
    nodes.stop().await;
}

#[tokio::test]
async fn nonsense_ends_a_connection_and_not_the_node() {
    let nodes = Nodes::form(&["a", "b", "c"]).await;
    let leader = nodes.leader().await;
    let (id, member) = (nodes.of(&leader).id, &nodes.of(&leader).member);
    let vote = |node, committed| proto::Vote {
        term: 99,
        node,
        committed,
    };
    let entry = |index| proto::Entry {
        id: Some(proto::LogId {
            term: 99,
            node: 5,
            index,
        }),
        payload: Some(proto::entry::Payload::Blank(proto::Nothing {})),
    };
    let append = |vote, entries| {
        request::Body::Append(proto::AppendRequest {
            vote: Some(vote),
            entries,
            ..Default::default()
        })
    };
    let begin = proto::SnapshotBegin {
        vote: Some(vote(5, true)),
        meta: Some(proto::SnapshotMeta {
            membership: Some(proto::Membership::default()),
            ..Default::default()
        }),
        length: 10,
    };
    let part = |offset, length, checksum| {
        request::Body::SnapshotChunk(proto::SnapshotChunk {
            offset,
            bytes: vec![1; length].into(),
            checksum,
        })
    };
    let end = request::Body::SnapshotEnd(proto::SnapshotEnd { checksum: 0 });
    let whole = crc32fast::hash(&[1; 10]);
    for bodies in [
        vec![append(vote(6, true), vec![])],
        vec![append(vote(5, false), vec![])],
        vec![append(vote(5, true), vec![entry(1)])],
        vec![append(vote(5, true), vec![entry(0), entry(2)])],
        vec![append(vote(5, true), vec![proto::Entry::default()])],
        vec![request::Body::Append(proto::AppendRequest::default())],
        vec![request::Body::Vote(proto::VoteRequest {
            vote: Some(vote(5, true)),
            last_log_id: None,
        })],
        vec![request::Body::Vote(proto::VoteRequest {
            vote: Some(vote(6, false)),
            last_log_id: None,
        })],
        vec![greeting(id, 1..=1)],
        vec![part(0, 10, whole)],
        vec![end.clone()],
        vec![request::Body::SnapshotBegin(proto::SnapshotBegin::default())],
        vec![
            request::Body::SnapshotBegin(begin.clone()),
            part(1, 9, whole),
        ],
        vec![
            request::Body::SnapshotBegin(begin.clone()),
            part(0, 11, whole),
        ],
        vec![
            request::Body::SnapshotBegin(begin.clone()),
            part(0, 10, whole + 1),
        ],
        vec![request::Body::SnapshotBegin(begin.clone()), end.clone()],
        vec![request::Body::SnapshotBegin(begin), part(0, 10, whole), end],
    ] {
        let count = bodies.len();
        let all = [vec![greeting(id, 1..=1)], bodies.clone()].concat();
        let replies = raw(&member.address, &frames(all)).await;
        let why = replies.last().and_then(refused).map(proto::Refused::reason);
        assert_eq!(
            why,
            Some(Reason::Invalid),
            "{count}: {bodies:?}: {replies:?}"
        );
    }
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0, 0, 0, 1, 0xff],
        &[],
    ] {
        assert!(raw(&member.address, bytes).await.is_empty());
        let after_greeting = [frames(vec![greeting(id, 1..=1)]), bytes.to_vec()].concat();
        assert_eq!(raw(&member.address, &after_greeting).await.len(), 1);
    }
    // The node still leads in its term, which none of this has changed.
    let (_, opened) = Author::new();
    let proposed = nodes.of(&leader).node().propose_now(opened).await;
    assert!(proposed.is_ok(), "{proposed:?}");
    nodes.stop().await;
}

proptest! {
    /// No message of another node makes a conversion panic.
    #[test]
    fn arbitrary_messages_are_converted_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(append) = proto::AppendRequest::decode(&bytes[..]) {
            let _ = convert::to_append(append);
        }
        if let Ok(vote) = proto::VoteRequest::decode(&bytes[..]) {
            let _ = convert::to_vote_request(&vote);
        }
        if let Ok(meta) = proto::SnapshotMeta::decode(&bytes[..]) {
            let _ = convert::to_meta(meta);
        }
    }
}

/// Creates an authority, and certificates for nodes with these names.
fn certificates(folder: &Path, names: &[&str]) -> Vec<PeerTls> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "cluster");
    let authority = folder.join("authority.pem");
    std::fs::write(&authority, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let certificate = |name: &&str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([(*name).to_owned()]).unwrap();
        let files = PeerTls {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
            authority: authority.clone(),
        };
        std::fs::write(
            &files.certificate,
            params.signed_by(&key, &issuer).unwrap().pem(),
        )
        .unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    };
    names.iter().map(certificate).collect()
}

#[tokio::test]
async fn nodes_with_certificates_form_a_cluster_and_refuse_the_certificates_of_others() {
    let place = tempfile::tempdir().unwrap();
    let files = certificates(place.path(), &["a", "b", "c"]);
    let mut nodes = Nodes::start(&[], 16 << 20).await;
    for (name, files) in ["a", "b", "c"].into_iter().zip(&files) {
        nodes
            .add_with(name, |options| options.with_tls(files.clone()))
            .await;
    }
    nodes.of("a").node().form(nodes.voters()).await.unwrap();
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    nodes.propose(author.acquire()).await;
    nodes.all_have(1).await;

    let (id, member) = (nodes.of("a").id, nodes.of("a").member.clone());
    // The certificate of another node.
    let refused = reach(
        identity(CLUSTER, 5, "d", Some(files[1].clone())),
        id,
        &member,
    )
    .await
    .unwrap_err();
    assert!(
        refused.contains("the certificate of node d is for b"),
        "{refused}"
    );
    // Another node at the address.
    let other = Member {
        name: "b".to_owned(),
        ..member.clone()
    };
    let refused = reach(
        identity(CLUSTER, 5, "b", Some(files[1].clone())),
        id,
        &other,
    )
    .await
    .unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
    // Another authority, and none at all.
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = certificates(elsewhere.path(), &["b"]).remove(0);
    reach(identity(CLUSTER, 5, "b", Some(foreign)), id, &member)
        .await
        .unwrap_err();
    reach(identity(CLUSTER, 5, "b", None), id, &member)
        .await
        .unwrap_err();
    nodes.stop().await;
}

#[tokio::test]
async fn without_certificates_a_node_listens_at_loopback_only() {
    let place = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(CLUSTER, "a", place.path()).with_listen("0.0.0.0:0");
    let refused = Node::start(options, Box::new(Replica::new(Limits::default())))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), distsync_core::ErrorKind::InvalidOption);
    assert!(
        refused.to_string().contains("configure certificates"),
        "{refused}"
    );
}
