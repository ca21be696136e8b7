//! Resuming a lock from its ticket.

use std::sync::Arc;

use bytes::Bytes;

use crate::locks::context::Context;
use crate::locks::guard::Guard;
use crate::locks::ticket::Ticket;
use crate::session::arrivals::Late;
use crate::session::errors::ticket_ended;
use crate::session::hold::Hold;
use crate::spi::backend::Claim;
use crate::spi::home::runtime;
use crate::types::error::Result;

/// Resumes the lock of a ticket under its old session.
pub(crate) async fn resume(context: &Arc<Context>, ticket: &Ticket) -> Result<Guard> {
    let call = context.call("resume", &ticket.name);
    runtime().map_err(|error| call.explain(error))?;
    let session = context
        .keeper
        .resume(ticket.session)
        .await
        .map_err(|error| call.explain(error))?;
    let queue = match call.once(|| context.backend.queue(&ticket.name)).await {
        Ok(queue) => queue,
        Err(error) => {
            session.detach();
            return Err(error);
        }
    };
    if !queue
        .holders()
        .any(|entry| entry.claim == ticket.claim && entry.token == Some(ticket.token))
    {
        session.detach();
        return Err(call.explain(ticket_ended()));
    }
    let claim = Claim {
        id: ticket.claim,
        session: *session.session(),
        name: ticket.name.clone(),
        also: Vec::new(),
        any: false,
        mode: ticket.mode,
        waits: false,
        client: context.client.clone(),
        value: Bytes::new(),
        token: Some(ticket.token),
    };
    match Hold::begin(claim, ticket.token, session, Late::None, None) {
        Ok(hold) => Ok(Guard::new(context.clone(), hold, true)),
        Err(_) => Err(call.explain(ticket_ended())),
    }
}
