// SPDX-License-Identifier: Apache-2.0
//! `bench group`: many consumers of one group, each with a connection. What it costs that they join, say that they live, ask who the
//! others are, and that one leaves: a broker tells all of them, and each asks for the list again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use ferrocket_protocol::body::connection::GetConsumerListByGroupResponseBody;
use ferrocket_protocol::body::heartbeat::{ConsumerData, HeartbeatData, SUB_ALL, SubscriptionData};
use ferrocket_protocol::header::client::GetConsumerListByGroupRequestHeader;
use ferrocket_protocol::{RemotingCommand, fastjson, request_code};
use tokio::sync::watch;

use super::ask::{self, succeeded};
use super::connection::LoadConnection;
use super::control::Control;
use super::meter::{Usage, Window};
use super::progress::{Goal, Progress};
use super::report::{Latency, Report, latency_histogram};
use super::{ANSWER_MAX, BenchError, CommonArgs, join_all};
use crate::runtime::{Runtime, SharedClock, Task};

#[derive(Debug, Args)]
pub(in crate::cli) struct GroupArgs {
    /// --connections members
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Heartbeats of each member that are measured
    #[arg(long, default_value_t = 5)]
    heartbeats: u64,
    /// Times that the list of members is asked for, one after the other
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    lists: u32,
}

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// News that have not come for so long do not come any more.
const NEWS_STILL: Duration = Duration::from_millis(500);

/// Opaques of a member's requests.
const HEARTBEAT: i32 = 1;
const LIST: i32 = 2;

pub(super) async fn run(args: &GroupArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let (common, clock) = (&args.common, runtime.clock());
    crate::server::raise_open_files();
    ask::create_topics(common, std::slice::from_ref(&common.topic)).await?;
    let members = common.connections as u64;
    if members < 2 {
        return Err(BenchError::Refusal("a group of at least two --connections is measured".to_owned()));
    }
    // Of this run alone: a server remembers members for some time.
    let group = format!("{}-{}", common.topic, clock.now_millis());
    let usage = || (!common.server_pids.is_empty()).then(|| Usage::of_all(&common.server_pids)).transpose();
    let (order, orders) = watch::channel(Order::Live);
    let seen = Arc::new(Seen::default());
    let progress = Progress::start("group", Goal::Messages(members * (args.heartbeats + 1)), runtime);

    let (before, joining) = (usage()?, clock.nanos());
    let mut tasks = Vec::new();
    for number in 0..members {
        let member = Member::new(LoadConnection::open(common.addr).await?, number, &group, common, &seen, progress.counter());
        tasks.push(runtime.spawn("member", member.run(orders.clone())));
    }
    drop(orders);
    let crew = Crew { tasks, clock };
    let crew = crew.wait("join", &seen.heartbeats, members).await?;
    let joined_nanos = clock.nanos() - joining;
    let crew = crew.settle(&seen.news).await?;
    let (joined, join_news) = (usage()?, seen.news.load(Ordering::Relaxed));

    let control = Control::new(common.addr, runtime);
    let mut list_nanos = latency_histogram();
    let mut list_bytes = 0;
    for _ in 0..args.lists {
        let asked = clock.nanos();
        let answer = control.ask("get the members", list_request(&group)).await?;
        list_nanos.saturating_record(clock.nanos() - asked);
        list_bytes = answer.body.len();
        let wrong = |error: String| BenchError::NotProven(format!("the list of members: {error}"));
        let list: GetConsumerListByGroupResponseBody = fastjson::from_slice(&answer.body).map_err(|error| wrong(error.to_string()))?;
        let listed: BTreeSet<String> = list.consumer_id_list.into_iter().collect();
        if listed.len() as u64 != members || !(0..members).all(|number| listed.contains(&client_id(number))) {
            return Err(wrong(format!("{} of {members}", listed.len())));
        }
    }

    let window = Window::open(&common.server_pids, common.count_syscalls)?;
    let beating = clock.nanos();
    let mut crew = crew;
    for round in 1..=args.heartbeats {
        order.send_replace(Order::Beat(round));
        crew = crew.wait("heartbeats", &seen.heartbeats, members * (round + 1)).await?;
    }
    let beat_seconds = (clock.nanos() - beating) as f64 / 1e9;
    let cost = window.close(members * args.heartbeats, beat_seconds, common.threads)?;

    order.send_replace(Order::Look);
    let crew = crew.wait("members that look", &seen.looking, members).await?;
    let (before_leave, leaving) = (usage()?, clock.nanos());
    order.send_replace(Order::Leave);
    let crew = crew.wait_but_one("news of one that left", &seen.told, members - 1).await?;
    let told_nanos = clock.nanos() - leaving;
    let crew = crew.wait_but_one("a list without it", &seen.listed, members - 1).await?;
    let listed_nanos = clock.nanos() - leaving;
    let after_leave = usage()?;
    order.send_replace(Order::End);
    join_all(crew.tasks, &progress, clock).await?;
    drop(progress);

    let mut report = Report::new("group", common);
    report.cost = cost;
    report.took(members * args.heartbeats, beat_seconds);
    report.latency_micros = Some(Latency::of(&list_nanos));
    report.figure("members_count", members as f64);
    report.figure("join_seconds", joined_nanos as f64 / 1e9);
    report.figure("join_news_count", join_news as f64);
    report.figure("list_bytes", list_bytes as f64);
    report.figure("leave_all_told_millis", told_nanos as f64 / 1e6);
    report.figure("leave_all_listed_millis", listed_nanos as f64 / 1e6);
    if let (Some(before), Some(joined), Some(before_leave), Some(after_leave)) = (before, joined, before_leave, after_leave) {
        report.figure("join_server_cpu_seconds", joined.cpu_seconds - before.cpu_seconds);
        report.figure("leave_server_cpu_seconds", after_leave.cpu_seconds - before_leave.cpu_seconds);
        let grown = joined.anonymous_bytes.saturating_sub(before.anonymous_bytes);
        report.figure("anonymous_per_member_bytes", grown as f64 / members as f64);
    }
    report.print(common.json)
}

fn client_id(number: u64) -> String {
    format!("127.0.0.1@bench-{number:05}")
}

fn list_request(group: &str) -> RemotingCommand {
    let header = GetConsumerListByGroupRequestHeader { consumer_group: group.to_owned().into(), ..Default::default() };
    RemotingCommand::request_with(request_code::GET_CONSUMER_LIST_BY_GROUP, &header)
}

/// What all members are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Live,
    /// The next heartbeat, by its number.
    Beat(u64),
    /// From now on to ask for the list when there are news, until one has left. An order of its own: not all get one at the same
    /// moment.
    Look,
    /// The first member goes.
    Leave,
    End,
}

/// What all members have seen.
#[derive(Debug, Default)]
struct Seen {
    heartbeats: AtomicU64,
    news: AtomicU64,
    looking: AtomicU64,
    /// Members that have heard that one left, and those that have the list without it.
    told: AtomicU64,
    listed: AtomicU64,
}

struct Crew<'a> {
    tasks: Vec<Task<Result<(), BenchError>>>,
    clock: &'a SharedClock,
}

impl Crew<'_> {
    async fn wait(self, what: &str, counter: &AtomicU64, expected: u64) -> Result<Self, BenchError> {
        self.until(what, 0, counter, expected).await
    }

    async fn wait_but_one(self, what: &str, counter: &AtomicU64, expected: u64) -> Result<Self, BenchError> {
        self.until(what, 1, counter, expected).await
    }

    /// A member that ends before its time has a reason, which is told.
    async fn until(self, what: &str, may_end: usize, counter: &AtomicU64, expected: u64) -> Result<Self, BenchError> {
        let began = self.clock.nanos();
        loop {
            let counted = counter.load(Ordering::Acquire);
            if counted == expected {
                return Ok(self);
            }
            if self.tasks.iter().filter(|task| task.is_finished()).count() > may_end {
                for task in self.tasks.into_iter().filter(Task::is_finished) {
                    task.join().await.ok_or(BenchError::Worker)??;
                }
                return Err(BenchError::NotProven(format!("{what}: a member left by itself")));
            }
            if self.clock.nanos() - began > ANSWER_MAX.as_nanos() as u64 {
                return Err(BenchError::NotProven(format!("{what}: {counted} of {expected} within {ANSWER_MAX:?}")));
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    async fn settle(self, counter: &AtomicU64) -> Result<Self, BenchError> {
        let mut last = counter.load(Ordering::Relaxed);
        loop {
            self.clock.sleep(NEWS_STILL).await;
            let now = counter.load(Ordering::Relaxed);
            if now == last {
                return Ok(self);
            }
            last = now;
        }
    }
}

struct Member {
    connection: LoadConnection,
    number: u64,
    members: u64,
    heartbeat: BytesMut,
    list: BytesMut,
    seen: Arc<Seen>,
    progress: Arc<AtomicU64>,
    /// Looks for a list of so many since one left.
    expected: Option<u64>,
    is_told: bool,
    is_asking: bool,
    /// News came while it was asking.
    asks_again: bool,
}

impl Member {
    fn new(connection: LoadConnection, number: u64, group: &str, common: &CommonArgs, seen: &Arc<Seen>, progress: Arc<AtomicU64>) -> Self {
        let subscription = SubscriptionData { topic: common.topic.clone(), sub_string: SUB_ALL.to_owned(), ..Default::default() };
        let consumer = ConsumerData { group_name: group.to_owned(), subscription_data_set: vec![subscription], ..ConsumerData::default() };
        let data = HeartbeatData { client_id: client_id(number), consumer_data_set: vec![consumer], ..HeartbeatData::default() };
        let encoded = |mut request: RemotingCommand, opaque: i32| {
            request.opaque = opaque;
            request.serialize_type = common.header.into();
            let mut out = BytesMut::new();
            request.encode(&mut out);
            out
        };
        let heartbeat = RemotingCommand::request(request_code::HEART_BEAT).with_body(fastjson::to_vec(&data));
        Self {
            connection,
            number,
            members: common.connections as u64,
            heartbeat: encoded(heartbeat, HEARTBEAT),
            list: encoded(list_request(group), LIST),
            seen: Arc::clone(seen),
            progress,
            expected: None,
            is_told: false,
            is_asking: false,
            asks_again: false,
        }
    }

    async fn run(mut self, mut orders: watch::Receiver<Order>) -> Result<(), BenchError> {
        self.connection.write(&self.heartbeat).await?;
        loop {
            tokio::select! {
                changed = orders.changed() => {
                    let order = if changed.is_ok() { *orders.borrow_and_update() } else { Order::End };
                    match order {
                        Order::Live => {}
                        Order::Beat(_) => self.connection.write(&self.heartbeat).await?,
                        Order::Look => {
                            self.expected = Some(self.members - 1);
                            self.seen.looking.fetch_add(1, Ordering::AcqRel);
                        }
                        Order::Leave if self.number > 0 => {}
                        Order::Leave | Order::End => return Ok(()),
                    }
                }
                read = self.connection.read() => {
                    read?;
                    while let Some(frame) = self.connection.next_frame()? {
                        self.take(&RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what: "a member", error })?)?;
                    }
                    if self.asks_again && !self.is_asking {
                        (self.asks_again, self.is_asking) = (false, true);
                        self.connection.write(&self.list).await?;
                    }
                }
            }
        }
    }

    fn take(&mut self, command: &RemotingCommand) -> Result<(), BenchError> {
        if !command.is_response() {
            if command.code == request_code::NOTIFY_CONSUMER_IDS_CHANGED {
                self.seen.news.fetch_add(1, Ordering::Relaxed);
                self.asks_again = self.expected.is_some();
                if self.asks_again && !std::mem::replace(&mut self.is_told, true) {
                    self.seen.told.fetch_add(1, Ordering::AcqRel);
                }
            }
            return Ok(());
        }
        succeeded("a member", command)?;
        if command.opaque == HEARTBEAT {
            self.seen.heartbeats.fetch_add(1, Ordering::AcqRel);
            self.progress.fetch_add(1, Ordering::Relaxed);
        } else if command.opaque == LIST {
            self.is_asking = false;
            // Client ids hold no commas; reading the text for every member would be the generator's time, not the server's.
            let listed = command.body.iter().filter(|byte| **byte == b',').count() as u64 + 1;
            if self.expected.take_if(|expected| *expected == listed).is_some() {
                self.seen.listed.fetch_add(1, Ordering::AcqRel);
                self.progress.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
