//! The channels that a connection is subscribed to.
//!
//! A channel that nobody needs any more is unsubscribed from, so that a client that uses many
//! sessions, or watches many names, does not collect channels here and at the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use distsync_core::LockName;
use distsync_core::spi::{SessionId, locked};
use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::error::Failure;
use crate::inbox::Inbox;
use crate::keys::Channel;
use crate::wire::Wire;

/// The subscriptions of one connection.
pub(crate) struct Subscriptions {
    wire: Wire,
    /// The channels, and whether the server has confirmed the subscription. Commands about
    /// channels are sent under this mutex, so that they are sent in the order of its changes.
    channels: Mutex<HashMap<Channel, bool, RandomState>>,
}

impl Subscriptions {
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire,
            channels: Mutex::default(),
        }
    }

    fn inbox(&self) -> &Arc<Inbox> {
        self.wire.inbox()
    }

    /// Marks the connection as lost.
    pub(crate) fn lose(&self) {
        self.inbox().lose();
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.inbox().is_lost()
    }

    /// Returns whether the server publishes to this connection what is published to a channel.
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        locked(&self.channels).get(channel) == Some(&true)
    }

    /// Subscribes to a channel, and waits for the confirmation.
    pub(crate) async fn add(&self, channel: Channel) -> Result<(), Failure> {
        let confirmation = {
            let mut channels = locked(&self.channels);
            if *channels.entry(channel.clone()).or_default() {
                return Ok(());
            }
            self.wire.subscribe(&channel.to_string())?
        };
        confirmation.await?;
        // It may have been removed meanwhile.
        if let Some(is_confirmed) = locked(&self.channels).get_mut(&channel) {
            *is_confirmed = true;
        }
        Ok(())
    }

    /// Returns the notification of changes of a name's queue. It counts as watched for as long as
    /// there is a reference to the notification.
    pub(crate) fn watch(&self, name: &LockName) -> Arc<Notify> {
        let mut channels = locked(&self.channels);
        let (told, unwatched) = self.inbox().watch(name.path());
        for path in unwatched {
            self.remove(&mut channels, &Channel::Watch(path));
        }
        told
    }

    /// Ends the subscription to the messages for a session that has ended.
    pub(crate) fn forget(&self, session: SessionId) {
        self.inbox().forget_session(&session.to_string());
        self.remove(&mut locked(&self.channels), &Channel::Session(session));
    }

    fn remove(&self, channels: &mut HashMap<Channel, bool, RandomState>, channel: &Channel) {
        if channels.remove(channel).is_some() {
            self.wire.unsubscribe(&channel.to_string());
        }
    }
}
