// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The client's messages and queues as JSON, and back. */
final class Messages {
    /** Longer bodies are told by their beginning, size and checksum. */
    private static final int BODY_SHOWN = 64;

    static Message toSend(Args a) {
        Message message = new Message(a.text("topic"), a.text("tags", ""), a.text("keys", ""), a.integer("flag", 0), body(a), a.flag("wait", true));
        if (a.has("delay")) message.setDelayTimeLevel(a.integer("delay", 0));
        Args props = a.object("props");
        if (props != null) for (Map.Entry<String, Object> p : props.map.entrySet()) message.putUserProperty(p.getKey(), String.valueOf(p.getValue()));
        return message;
    }

    private static byte[] body(Args a) {
        byte[] text = a.text("body", "").getBytes(StandardCharsets.UTF_8);
        int size = a.integer("size", text.length);
        byte[] body = new byte[size];
        if (a.flag("random", false)) new Random(size).nextBytes(body);
        else java.util.Arrays.fill(body, (byte) '.');
        System.arraycopy(text, 0, body, 0, Math.min(text.length, size));
        return body;
    }

    static Map<String, Object> sent(SendResult r) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("status", r.getSendStatus().name());
        out.put("msgId", r.getMsgId());
        out.put("offsetMsgId", r.getOffsetMsgId());
        if (r.getMessageQueue() != null) {
            out.put("topic", r.getMessageQueue().getTopic());
            out.put("broker", r.getMessageQueue().getBrokerName());
            out.put("queue", r.getMessageQueue().getQueueId());
        }
        out.put("offset", r.getQueueOffset());
        return out;
    }

    static Map<String, Object> got(MessageExt m) {
        Map<String, Object> out = new LinkedHashMap<>();
        byte[] body = m.getBody() == null ? new byte[0] : m.getBody();
        CRC32 crc = new CRC32();
        crc.update(body);
        out.put("topic", m.getTopic());
        out.put("queue", m.getQueueId());
        out.put("offset", m.getQueueOffset());
        out.put("body", new String(body, 0, Math.min(body.length, BODY_SHOWN), StandardCharsets.UTF_8));
        out.put("size", body.length);
        out.put("crc", crc.getValue());
        out.put("tags", m.getTags());
        out.put("keys", m.getKeys());
        out.put("msgId", m.getMsgId());
        // 4.x keeps the offset id behind the same getter and shows the unique key as msgId.
        out.put("offsetMsgId", m instanceof org.apache.rocketmq.common.message.MessageClientExt
            ? ((org.apache.rocketmq.common.message.MessageClientExt) m).getOffsetMsgId() : m.getMsgId());
        out.put("reconsume", m.getReconsumeTimes());
        out.put("sysFlag", m.getSysFlag());
        out.put("flag", m.getFlag());
        out.put("born", m.getBornTimestamp());
        out.put("stored", m.getStoreTimestamp());
        out.put("at", System.currentTimeMillis());
        out.put("physical", m.getCommitLogOffset());
        out.put("props", new java.util.TreeMap<>(m.getProperties()));
        return out;
    }

    static List<Object> got(Collection<MessageExt> messages) {
        List<Object> out = new ArrayList<>();
        if (messages != null) for (MessageExt m : messages) out.add(got(m));
        return out;
    }

    static List<Object> queues(Collection<MessageQueue> queues) {
        List<MessageQueue> sorted = new ArrayList<>(queues);
        sorted.sort(Comparator.naturalOrder());
        List<Object> out = new ArrayList<>();
        for (MessageQueue q : sorted) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("topic", q.getTopic());
            one.put("broker", q.getBrokerName());
            one.put("queue", q.getQueueId());
            out.add(one);
        }
        return out;
    }
}
