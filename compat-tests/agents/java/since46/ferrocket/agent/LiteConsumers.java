// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.HashMap;
import org.apache.rocketmq.client.MQAdmin;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The lite pull consumer (since 4.6.0): subscribed or assigned, polled by the application. */
public final class LiteConsumers {
    static final class Lite implements Agent.Handle, Queues.Lookup, PushConsumers.Received {
        final DefaultLitePullConsumer client;
        final List<Object> received = new ArrayList<>();

        Lite(DefaultLitePullConsumer client) {
            this.client = client;
        }

        @Override public void close() {
            client.shutdown();
        }

        @Override public Collection<MessageQueue> queues(String topic) throws Exception {
            return client.fetchMessageQueues(topic);
        }

        @Override public MQAdmin admin() {
            throw new IllegalStateException("a lite pull consumer answers no such question");
        }

        /** Polls until nothing more is at hand, then tells everything that ever came. */
        @Override public synchronized List<Object> received() {
            while (true) {
                List<MessageExt> polled = client.poll(300);
                if (polled.isEmpty()) return new ArrayList<>(received);
                for (MessageExt m : polled) {
                    Map<String, Object> one = Messages.got(m);
                    one.put("taken", true);
                    one.put("overlap", false);
                    received.add(one);
                }
            }
        }
    }

    public static void register() {
        Agent.OPS.put("lite", LiteConsumers::start);
        Agent.OPS.put("seek", a -> {
            DefaultLitePullConsumer c = lite(a);
            switch (a.text("to", "offset")) {
                case "begin": c.seekToBegin(Queues.of(a)); break;
                case "end": c.seekToEnd(Queues.of(a)); break;
                default: c.seek(Queues.of(a), a.number("offset"));
            }
            return null;
        });
        Agent.OPS.put("pause", a -> { lite(a).pause(Collections.singleton(Queues.of(a))); return null; });
        Agent.OPS.put("unpause", a -> { lite(a).resume(Collections.singleton(Queues.of(a))); return null; });
        Agent.OPS.put("commit", a -> { lite(a).commitSync(); return null; });
        Agent.OPS.put("commit_offset", a -> {
            Map<MessageQueue, Long> offsets = new HashMap<>();
            offsets.put(Queues.of(a), a.number("offset"));
            lite(a).commitSync(offsets, true);
            return null;
        });
        Agent.OPS.put("committed", a -> lite(a).committed(Queues.of(a)));
        Agent.OPS.put("offset_for_time", a -> lite(a).offsetForTimestamp(Queues.of(a), a.number("time")));
        Agent.OPS.put("assignment", a -> Messages.queues(lite(a).assignment()));
    }

    private static DefaultLitePullConsumer lite(Args a) {
        return Agent.handle(a, Lite.class).client;
    }

    private static Object start(Args a) throws Exception {
        DefaultLitePullConsumer c = new DefaultLitePullConsumer(a.text("group"));
        c.setNamesrvAddr(a.text("namesrv"));
        c.setInstanceName(a.text("as"));
        Version.setBroadcasting(c, a.text("model", "cluster").equals("broadcast"));
        c.setConsumeFromWhere(PushConsumers.from(a.text("from", "first")));
        if (a.has("timestamp")) c.setConsumeTimestamp(a.text("timestamp"));
        c.setHeartbeatBrokerInterval(5000);
        c.setAutoCommit(a.flag("auto_commit", true));
        c.setAutoCommitIntervalMillis(1000);
        c.setPersistConsumerOffsetInterval(a.integer("persist", 1000));
        if (a.has("pull_batch")) c.setPullBatchSize(a.integer("pull_batch", 10));
        if (!a.has("assign")) c.subscribe(a.text("topic"), a.text("expr", "*"));
        c.start();
        Agent.HANDLES.put(a.text("as"), new Lite(c));
        if (a.has("assign")) {
            List<MessageQueue> queues = new ArrayList<>();
            for (MessageQueue q : c.fetchMessageQueues(a.text("topic"))) if (a.list("assign").contains((long) q.getQueueId())) queues.add(q);
            c.assign(queues);
        }
        return null;
    }
}
