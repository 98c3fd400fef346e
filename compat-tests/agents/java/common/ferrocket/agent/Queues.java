// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.Collection;
import org.apache.rocketmq.client.MQAdmin;
import org.apache.rocketmq.common.message.MessageQueue;

/** Questions about queues that any started client can ask. */
final class Queues {
    interface Lookup {
        Collection<MessageQueue> queues(String topic) throws Exception;

        MQAdmin admin();
    }

    static void register() {
        Agent.OPS.put("queues", a -> Messages.queues(Agent.handle(a, Lookup.class).queues(a.text("topic"))));
        Agent.OPS.put("max_offset", a -> Agent.handle(a, Lookup.class).admin().maxOffset(of(a)));
        Agent.OPS.put("min_offset", a -> Agent.handle(a, Lookup.class).admin().minOffset(of(a)));
        Agent.OPS.put("search_offset", a -> Agent.handle(a, Lookup.class).admin().searchOffset(of(a), a.number("time")));
        Agent.OPS.put("earliest_time", a -> Agent.handle(a, Lookup.class).admin().earliestMsgStoreTime(of(a)));
    }

    static MessageQueue of(Args a) throws Exception {
        for (MessageQueue q : Agent.handle(a, Lookup.class).queues(a.text("topic"))) if (q.getQueueId() == a.number("queue", 0)) return q;
        throw new IllegalArgumentException("no queue " + a.number("queue", 0) + " of " + a.text("topic"));
    }
}
