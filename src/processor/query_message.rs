// SPDX-License-Identifier: Apache-2.0
//! QUERY_MESSAGE (12) by key, tag or unique key, and VIEW_MESSAGE_BY_ID (33).
//!
//! The stored host of each record is patched to the address by which the asking client can reach this broker: tools build message
//! ids from it.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use ferrocket_protocol::header::query::{QueryMessageRequestHeader, QueryMessageResponseHeader, ViewMessageRequestHeader};
use ferrocket_protocol::message::{layout, sys_flag};
use ferrocket_protocol::{RemotingCommand, response_code};

use super::reply::{Refusal, Reply};
use crate::broker::Broker;
use crate::remoting::Peer;
use crate::store::{IndexType, QueryMax};

pub(super) fn query(broker: &Broker, peer: &Peer, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let mut header: QueryMessageRequestHeader = request.header()?;
    let index_type = if header.unique_key_query {
        header.max_num = broker.config.load().default_query_max_num;
        IndexType::Unique
    } else {
        match header.index_type.as_deref() {
            Some("T") => IndexType::Tag,
            Some("U") => IndexType::Unique,
            _ => IndexType::Key,
        }
    };
    let count = usize::try_from(header.max_num).map_err(|_| Refusal::system_error(format!("Illegal Capacity: {}", header.max_num)))?;
    let max = QueryMax { count, bytes: peer.room_bytes() };
    let found = broker.store.query_message(&header.topic, &header.key, max, header.begin_timestamp, header.end_timestamp, index_type);
    let fields = QueryMessageResponseHeader {
        index_last_update_timestamp: found.index_last_update_timestamp,
        index_last_update_phyoffset: found.index_last_update_phyoffset,
    };
    if found.records.is_empty() {
        let remark = "can not find message, maybe time range not correct";
        let response = RemotingCommand::response(response_code::QUERY_NOT_FOUND).with_header(&fields);
        return Ok(Reply::Now(response.with_remark(remark)));
    }
    let address = broker.address_for(peer);
    let mut body = BytesMut::with_capacity(found.records.iter().map(Bytes::len).sum());
    for record in &found.records {
        let at = body.len();
        body.put_slice(record);
        patch_store_host(&mut body[at..], address);
    }
    Ok(Reply::Now(RemotingCommand::response(response_code::SUCCESS).with_header(&fields).with_body(body.freeze())))
}

pub(super) fn view(broker: &Broker, peer: &Peer, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: ViewMessageRequestHeader = request.header()?;
    let Some(record) = broker.store.look_message(header.offset)? else {
        return Err(Refusal::system_error(format!("can not find message by the offset, {}", header.offset)));
    };
    let mut body = BytesMut::from(&record[..]);
    patch_store_host(&mut body, broker.address_for(peer));
    Ok(Reply::body(body.freeze()))
}

/// Tells the client the address that it can reach, where the record has room for one of that kind.
fn patch_store_host(record: &mut [u8], address: SocketAddr) {
    let flag = record.get(layout::SYS_FLAG_AT..layout::SYS_FLAG_AT + 4).and_then(|bytes| bytes.try_into().ok());
    let Some(flag) = flag.map(i32::from_be_bytes) else { return };
    let at = layout::store_host_at(sys_flag::has(flag, sys_flag::BORN_HOST_V6));
    let is_v6 = sys_flag::has(flag, sys_flag::STORE_HOST_V6);
    let Some(host) = record.get_mut(at..at + layout::host_bytes(is_v6)) else { return };
    let (ip, port) = host.split_at_mut(host.len() - 4);
    match (address.ip(), is_v6) {
        (IpAddr::V4(address), false) => ip.copy_from_slice(&address.octets()),
        (IpAddr::V6(address), true) => ip.copy_from_slice(&address.octets()),
        _ => return,
    }
    port.copy_from_slice(&u32::from(address.port()).to_be_bytes());
}
