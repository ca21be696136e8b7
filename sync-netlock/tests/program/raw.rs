//! A connection that sends raw requests of the protocol, one at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use distsync_netlock::wire::{VERSION, encode, proto};
use prost::Message;

pub(crate) struct Raw {
    stream: TcpStream,
    last: u64,
}

pub(crate) fn id(number: u64) -> Option<proto::Id> {
    Some(proto::Id {
        high: 7,
        low: number,
    })
}

pub(crate) fn enqueue(session: u32, claim: u64, name: &str) -> Request {
    let name = name.to_owned().into();
    Request::Enqueue(proto::Enqueue {
        session,
        claim: id(claim),
        name,
        ..proto::Enqueue::default()
    })
}

/// Returns a request for a session with the number and id 1 and a TTL of a minute.
pub(crate) fn session() -> proto::Open {
    proto::Open {
        session: 1,
        id: id(1),
        secret: id(99),
        ttl_ms: 60_000,
        client: "raw".to_owned(),
        release_on_disconnect: false,
        isolation: Vec::new().into(),
    }
}

impl Raw {
    /// Connects and sends a greeting without a token.
    pub(crate) fn connect(address: &str) -> Self {
        Self::connect_with(address, "")
    }

    pub(crate) fn connect_with(address: &str, token: &str) -> Self {
        Self::greet(address, token, false)
    }

    /// Connects as an operator of the cluster.
    pub(crate) fn connect_to_member(address: &str, token: &str) -> Self {
        Self::greet(address, token, true)
    }

    fn greet(address: &str, token: &str, to_member: bool) -> Self {
        let mut raw = Self::connect_without_greeting(address);
        let hello = Request::Hello(proto::Hello {
            version: VERSION,
            token: token.to_owned(),
            to_member,
        });
        assert!(matches!(raw.ask(hello), Response::Welcome(_)));
        raw
    }

    pub(crate) fn connect_without_greeting(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self { stream, last: 0 }
    }

    pub(crate) fn ask(&mut self, body: Request) -> Response {
        self.send(body);
        self.answer()
    }

    pub(crate) fn send(&mut self, body: Request) {
        self.try_send(body).unwrap();
    }

    pub(crate) fn try_send(&mut self, body: Request) -> std::io::Result<()> {
        self.last += 1;
        let mut out = Vec::new();
        encode(
            &proto::Request {
                id: self.last,
                body: Some(body),
            },
            &mut out,
        );
        self.stream.write_all(&out)
    }

    pub(crate) fn answer(&mut self) -> Response {
        self.try_answer().unwrap()
    }

    pub(crate) fn try_answer(&mut self) -> std::io::Result<Response> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(proto::Response::decode(&*frame).unwrap().body.unwrap())
    }

    /// Waits until the server has sent more than `bytes` that were not read, and can send no more.
    pub(crate) fn wait_until_full(&self, bytes: u64) {
        let mut last = 0;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let unread = rustix::io::ioctl_fionread(&self.stream).unwrap();
            if unread > bytes && unread == last {
                return;
            }
            last = unread;
        }
    }

    pub(crate) fn open(&mut self, open: proto::Open) {
        assert!(matches!(self.ask(Request::Open(open)), Response::Opened(_)));
    }

    pub(crate) fn attach(&mut self) {
        let attach = proto::Attach {
            session: 1,
            id: id(1),
            secret: id(99),
        };
        assert!(matches!(
            self.ask(Request::Attach(attach)),
            Response::Attached(_)
        ));
    }

    pub(crate) fn is_held(&mut self, name: &str) -> bool {
        match self.ask(Request::Inspect(proto::Inspect {
            name: name.to_owned().into(),
        })) {
            Response::Queue(queue) => !queue.entries.is_empty(),
            other => panic!("{other:?}"),
        }
    }
}
