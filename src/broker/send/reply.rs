// SPDX-License-Identifier: Apache-2.0
//! Request-reply: a reply goes to the producer that asked, and is then stored, whatever became of that: ReplyMessageProcessor.java.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrocket_protocol::Str;
use ferrocket_protocol::header::ReplyMessageRequestHeader;
use ferrocket_protocol::message::{MessageInner, properties, property, tags_code_of};
use tokio::sync::oneshot;
use tracing::warn;

use super::properties::Seen;
use super::{DueSend, SendError, SendRequest, SendResult, Sending, UniqueKey};
use crate::broker::Broker;
use crate::broker::flow_control::InFlight;
use crate::broker::topics::FoundTopic;
use crate::config::BrokerConfig;
use crate::remoting::CallError;
use crate::store::{PutMessageStatus, PutResult};

/// A reply whose topic is there, and whose place among those that wait is taken.
#[derive(Debug)]
pub struct AcceptedReply {
    topic: FoundTopic,
    message: MessageInner,
    in_flight: InFlight,
}

/// Why the producer that asked has not got the reply.
#[derive(Debug)]
pub enum PushFailure {
    /// The reply does not say who asked.
    NoAsker,
    /// No producer of that client id is connected to this broker.
    NotThere(String),
    /// It did not take the reply within 10 s, or did not want it.
    Failed { asker: String, why: CallError },
}

/// What became of a reply.
#[derive(Debug)]
pub struct Delivery {
    pub pushed: Result<(), PushFailure>,
    /// `None`: not stored, because `storeReplyMessageEnable` says so or the store did not take it.
    pub stored: Option<SendResult>,
}

/// Checks what any send is checked for; a topic that is not there is made. As many replies as `replyThreadPoolQueueCapacity` may wait.
pub fn accept(broker: &Arc<Broker>, config: &BrokerConfig, request: &SendRequest<'_>) -> Result<AcceptedReply, SendError> {
    if !broker.reply_flow_control.has_room(usize::try_from(config.reply_thread_pool_queue_capacity).unwrap_or(0)) {
        return Err(SendError::TooManyInFlight);
    }
    if request.body.is_empty() {
        return Err(SendError::EmptyBody);
    }
    let sending = Sending { broker, config, request };
    let topic = sending.admit()?;
    let message = MessageInner {
        topic: request.topic.clone(),
        queue_id: sending.queue_id(topic.topic())?,
        flag: request.flag,
        // The original stores a reply without the client's.
        sys_flag: 0,
        born_timestamp: request.born_timestamp,
        born_host: request.born_host,
        store_host: request.store_host,
        reconsume_times: request.reconsume_times,
        prepared_transaction_offset: 0,
        body: request.body.clone(),
        properties: stamped(config, request.properties),
        tags_code: tags_code_of(request.properties),
    };
    Ok(AcceptedReply { topic, message, in_flight: broker.reply_flow_control.enter(request.body.len()) })
}

/// The client's pairs, of two with one name the last, and the two that its consumer decides by whether to trace.
fn stamped(config: &BrokerConfig, client: &[u8]) -> Bytes {
    let pairs: Vec<_> = properties::parts(client).filter_map(|part| Some((properties::pair(part)?.0, part))).collect();
    let last: HashMap<&[u8], usize> = pairs.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    let mut kept = Vec::with_capacity(client.len() + 64);
    for (_, (_, part)) in pairs.iter().enumerate().filter(|(at, (name, _))| last.get(name) == Some(at)) {
        kept.extend_from_slice(part);
        kept.push(properties::PROPERTY_SEPARATOR);
    }
    properties::set(&mut kept, property::MSG_REGION, &config.region_id);
    properties::set(&mut kept, property::TRACE_ON, if config.trace_on { "true" } else { "false" });
    kept.into()
}

impl AcceptedReply {
    /// The queue that the client is told.
    pub fn queue_id(&self) -> i32 {
        self.message.queue_id
    }

    /// Pushes the reply, waits for up to 10 s until the client has said what it thinks of it, and stores it. `header` lacks what the
    /// message and the moment say: properties and the time of storing.
    pub async fn deliver(self, broker: &Arc<Broker>, header: ReplyMessageRequestHeader) -> Delivery {
        let pushed = self.push(broker, header).await;
        if let Err(failure) = &pushed {
            warn!(topic = %self.message.topic, ?failure, "a reply did not reach the producer that asked");
        }
        let stored = match broker.config.load().store_reply_message_enable {
            true => self.store(broker).await,
            false => None,
        };
        Delivery { pushed, stored }
    }

    async fn push(&self, broker: &Broker, mut header: ReplyMessageRequestHeader) -> Result<(), PushFailure> {
        let asker = properties::find(&self.message.properties, property::REPLY_TO_CLIENT).ok_or(PushFailure::NoAsker)?;
        let asker = String::from_utf8_lossy(asker).into_owned();
        let Some(channel) = broker.producers.channel_of_client(&asker) else { return Err(PushFailure::NotThere(asker)) };
        let now = broker.clock.now_millis();
        let mut pushed = self.message.properties.to_vec();
        properties::set(&mut pushed, property::PUSH_REPLY_TIME, now.to_string());
        header.properties = Some(Str::copy_from(&String::from_utf8_lossy(&pushed)));
        header.store_timestamp = now;
        let taken = channel.push_reply(&header, self.message.body.clone()).await;
        taken.map(|_| ()).map_err(|why| PushFailure::Failed { asker, why })
    }

    async fn store(self, broker: &Arc<Broker>) -> Option<SendResult> {
        let Self { topic, mut message, in_flight } = self;
        let (told_queue, seen) = (message.queue_id, Seen::scan(&message.properties));
        let (delay_level, is_timer, is_batch) = (seen.delay_level().unwrap_or(0), seen.is_timer(), seen.has_inner_number);
        let refused = match (is_timer, is_batch) {
            (true, _) => Some(PutMessageStatus::WheelTimerNotEnable),
            (_, true) => Some(PutMessageStatus::MessageIllegal),
            _ => None,
        };
        if delay_level > 0 {
            broker.schedule.delay(&mut message, delay_level);
        }
        let counted = broker.topics.get(&message.topic);
        let store = Arc::clone(&broker.store);
        let put = match refused {
            Some(status) => Err(status),
            None => broker
                .runtime
                .spawn_blocking("store a reply", move || store.put_message(&message))
                .join()
                .await
                .ok_or(PutMessageStatus::UnknownError),
        };
        let put = match put {
            Ok(put) if put.status.is_stored() => put,
            Ok(PutResult { status, .. }) | Err(status) => {
                warn!(?status, "a reply was not stored");
                if topic.is_created() {
                    broker.announce();
                }
                return None;
            }
        };
        if let Some(counted) = counted {
            broker.count_put(&counted, put.message_count as u64, put.record_bytes as u64);
        }
        let mut result = SendResult {
            status: put.status,
            physical_offset: put.physical_offset,
            physical_offsets: Vec::new(),
            queue_id: told_queue,
            queue_offset: put.queue_offset,
            unique_key: UniqueKey::None,
        };
        let (done, when_done) = oneshot::channel();
        let due = DueSend { broker: Arc::clone(broker), put, has_new_topic: topic.is_created(), in_flight };
        due.when_done(move |status| {
            // When the broker stops nobody waits for it any more.
            let _ = done.send(status);
        });
        result.status = when_done.await.ok()?;
        Some(result)
    }
}
