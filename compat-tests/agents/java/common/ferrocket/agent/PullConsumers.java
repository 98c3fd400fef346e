// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.rocketmq.client.MQAdmin;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The classic pull consumer: the application names queue and offset itself. */
@SuppressWarnings("deprecation")
public final class PullConsumers {
    static final class Pull implements Agent.Handle, Queues.Lookup {
        final DefaultMQPullConsumer client;
        final Map<String, MessageExt> lastPulled = new java.util.concurrent.ConcurrentHashMap<>();

        Pull(DefaultMQPullConsumer client) {
            this.client = client;
        }

        @Override public void close() {
            client.shutdown();
        }

        @Override public Collection<MessageQueue> queues(String topic) throws Exception {
            return client.fetchSubscribeMessageQueues(topic);
        }

        @Override public MQAdmin admin() {
            return client;
        }
    }

    public static void register() {
        Agent.OPS.put("pull_consumer", PullConsumers::start);
        Agent.OPS.put("pull", PullConsumers::pull);
        Agent.OPS.put("send_back", PullConsumers::sendBack);
        Agent.OPS.put("update_offset", a -> {
            Agent.handle(a, Pull.class).client.updateConsumeOffset(Queues.of(a), a.number("offset"));
            return null;
        });
        Agent.OPS.put("persist_offset", a -> {
            Agent.handle(a, Pull.class).client.getDefaultMQPullConsumerImpl().getOffsetStore().persistAll(Collections.singleton(Queues.of(a)));
            return null;
        });
        Agent.OPS.put("fetch_offset", a -> Agent.handle(a, Pull.class).client.fetchConsumeOffset(Queues.of(a), a.flag("from_store", true)));
        Agent.OPS.put("balanced", a -> Messages.queues(Agent.handle(a, Pull.class).client.fetchMessageQueuesInBalance(a.text("topic"))));
    }

    private static Object start(Args a) throws Exception {
        DefaultMQPullConsumer c = new DefaultMQPullConsumer(a.text("group"));
        c.setNamesrvAddr(a.text("namesrv"));
        c.setInstanceName(a.text("as"));
        Version.setBroadcasting(c, a.text("model", "cluster").equals("broadcast"));
        if (a.has("topic")) c.setRegisterTopics(new java.util.HashSet<>(Collections.singleton(a.text("topic"))));
        c.setPersistConsumerOffsetInterval(a.integer("persist", 1000));
        c.start();
        Agent.HANDLES.put(a.text("as"), new Pull(c));
        return null;
    }

    private static Object pull(Args a) throws Exception {
        Pull pull = Agent.handle(a, Pull.class);
        MessageQueue queue = Queues.of(a);
        PullResult r = a.flag("wait", false)
            ? pull.client.pullBlockIfNotFound(queue, a.text("expr", "*"), a.number("offset"), a.integer("max", 32))
            : pull.client.pull(queue, a.text("expr", "*"), a.number("offset"), a.integer("max", 32), 10_000);
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("status", r.getPullStatus().name());
        out.put("next", r.getNextBeginOffset());
        out.put("min", r.getMinOffset());
        out.put("max", r.getMaxOffset());
        out.put("messages", Messages.got(r.getMsgFoundList()));
        if (r.getMsgFoundList() != null) for (MessageExt m : r.getMsgFoundList()) pull.lastPulled.put(m.getMsgId(), m);
        return out;
    }

    private static Object sendBack(Args a) throws Exception {
        Pull pull = Agent.handle(a, Pull.class);
        MessageExt message = pull.lastPulled.get(a.text("id"));
        if (message == null) throw new IllegalArgumentException("never pulled " + a.text("id"));
        pull.client.sendMessageBack(message, a.integer("level", 0));
        return null;
    }
}
