// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.MQAdmin;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByConfig;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Push consumers whose listener writes down what came and fails as the scenario says. */
public final class PushConsumers {
    static final class Push implements Agent.Handle, Queues.Lookup, Received {
        final DefaultMQPushConsumer client;
        final List<Object> received = new ArrayList<>();
        final Args failing;
        /** How long the work on one call takes, in milliseconds. */
        final long slow;
        final Map<MessageQueue, AtomicInteger> busy = new ConcurrentHashMap<>();

        Push(DefaultMQPushConsumer client, Args a) {
            this.client = client;
            this.failing = a.object("fail");
            this.slow = a.number("slow", 0);
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

        @Override public List<Object> received() {
            synchronized (received) {
                return new ArrayList<>(received);
            }
        }

        /** Whether all of these were taken. `overlap` tells that the queue was being consumed by another thread as well. */
        boolean take(List<MessageExt> messages, MessageQueue queue) {
            AtomicInteger users = busy.computeIfAbsent(queue, q -> new AtomicInteger());
            boolean overlap = users.incrementAndGet() > 1;
            try {
                boolean fine = true;
                for (MessageExt m : messages) {
                    Map<String, Object> one = Messages.got(m);
                    boolean fails = fails(m, (String) one.get("body"));
                    one.put("taken", !fails);
                    one.put("overlap", overlap);
                    one.put("batch", messages.size());
                    synchronized (received) {
                        received.add(one);
                    }
                    fine &= !fails;
                }
                if (slow > 0) Thread.sleep(slow);
                return fine;
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return false;
            } finally {
                users.decrementAndGet();
            }
        }

        private boolean fails(MessageExt m, String body) {
            if (failing == null) return false;
            if (failing.has("bodies") && !failing.list("bodies").contains(body)) return false;
            return m.getReconsumeTimes() < failing.number("times", Integer.MAX_VALUE);
        }
    }

    /** Anything that can say which messages came to it. */
    interface Received {
        List<Object> received() throws Exception;
    }

    public static void register() {
        Agent.OPS.put("push", PushConsumers::start);
        Agent.OPS.put("received", a -> Agent.handle(a, Received.class).received());
        Agent.OPS.put("assigned", PushConsumers::assigned);
        Agent.OPS.put("suspend", a -> { Agent.handle(a, Push.class).client.suspend(); return null; });
        Agent.OPS.put("resume", a -> { Agent.handle(a, Push.class).client.resume(); return null; });
        Agent.OPS.put("subscribe", a -> { Agent.handle(a, Push.class).client.subscribe(a.text("topic"), a.text("expr", "*")); return null; });
        Agent.OPS.put("unsubscribe", a -> { Agent.handle(a, Push.class).client.unsubscribe(a.text("topic")); return null; });
        Queues.register();
    }

    private static Object start(Args a) throws Exception {
        DefaultMQPushConsumer c = new DefaultMQPushConsumer(a.text("group"));
        c.setNamesrvAddr(a.text("namesrv"));
        c.setInstanceName(a.text("as"));
        Version.setBroadcasting(c, a.text("model", "cluster").equals("broadcast"));
        c.setConsumeFromWhere(from(a.text("from", "first")));
        if (a.has("timestamp")) c.setConsumeTimestamp(a.text("timestamp"));
        if (a.has("batch")) c.setConsumeMessageBatchMaxSize(a.integer("batch", 1));
        if (a.has("pull_batch")) c.setPullBatchSize(a.integer("pull_batch", 32));
        if (a.has("max_reconsume")) c.setMaxReconsumeTimes(a.integer("max_reconsume", 16));
        if (a.has("suspend_millis")) c.setSuspendCurrentQueueTimeMillis(a.number("suspend_millis"));
        if (a.has("route_poll")) c.setPollNameServerInterval(a.integer("route_poll", 30_000));
        // A 5.x consumer whose first rebalance meets another heartbeat pulls with a subscription that the server does not know yet, on
        // the original too, until its next heartbeat. The default of 30 s would only make the tests wait.
        c.setHeartbeatBrokerInterval(a.integer("heartbeat", 5000));
        c.setPersistConsumerOffsetInterval(a.integer("persist", 1000));
        c.setConsumeThreadMin(a.integer("threads", 4));
        c.setConsumeThreadMax(a.integer("threads", 4));
        if (a.has("strategy")) c.setAllocateMessageQueueStrategy(strategy(a));
        Push push = new Push(c, a);
        if (a.flag("orderly", false)) {
            c.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                push.take(messages, context.getMessageQueue()) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            int level = push.failing == null ? 0 : push.failing.integer("level", 0);
            c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                if (push.take(messages, context.getMessageQueue())) return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                if (level != 0) context.setDelayLevelWhenNextConsume(level);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
        }
        if (a.has("topic")) c.subscribe(a.text("topic"), a.text("expr", "*"));
        for (Object one : a.list("topics")) c.subscribe(Args.of(one).text("topic"), Args.of(one).text("expr", "*"));
        c.start();
        Agent.HANDLES.put(a.text("as"), push);
        return null;
    }

    static ConsumeFromWhere from(String text) {
        switch (text) {
            case "first": return ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET;
            case "last": return ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET;
            case "timestamp": return ConsumeFromWhere.CONSUME_FROM_TIMESTAMP;
            default: throw new IllegalArgumentException("unknown from " + text);
        }
    }

    private static AllocateMessageQueueStrategy strategy(Args a) {
        switch (a.text("strategy")) {
            case "averagely": return new AllocateMessageQueueAveragely();
            case "circle": return new AllocateMessageQueueAveragelyByCircle();
            case "consistent_hash": return new AllocateMessageQueueConsistentHash();
            case "config": {
                AllocateMessageQueueByConfig byConfig = new AllocateMessageQueueByConfig();
                List<MessageQueue> queues = new ArrayList<>();
                for (Object id : a.list("config")) queues.add(new MessageQueue(a.text("topic"), a.text("broker"), ((Number) id).intValue()));
                byConfig.setMessageQueueList(queues);
                return byConfig;
            }
            case "machine_room": {
                // This strategy wants broker names of the form room@name; with others it allocates nothing.
                AllocateMessageQueueByMachineRoom byRoom = new AllocateMessageQueueByMachineRoom();
                Set<String> rooms = new HashSet<>();
                for (Object room : a.list("rooms")) rooms.add(room.toString());
                byRoom.setConsumeridcs(rooms);
                return byRoom;
            }
            case "machine_room_nearby": {
                String here = a.text("room");
                return new AllocateMachineRoomNearby(new AllocateMessageQueueAveragely(), new AllocateMachineRoomNearby.MachineRoomResolver() {
                    @Override public String brokerDeployIn(MessageQueue queue) {
                        return queue.getQueueId() % 2 == 0 ? "even" : "odd";
                    }

                    @Override public String consumerDeployIn(String clientId) {
                        return clientId.contains("odd") ? "odd" : clientId.contains("even") ? "even" : here;
                    }
                });
            }
            default: throw new IllegalArgumentException("unknown strategy " + a.text("strategy"));
        }
    }

    private static Object assigned(Args a) {
        List<MessageQueue> mine = new ArrayList<>();
        for (MessageQueue q : Agent.handle(a, Push.class).client.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet())
            if (q.getTopic().equals(a.text("topic"))) mine.add(q);
        return Messages.queues(mine);
    }
}
