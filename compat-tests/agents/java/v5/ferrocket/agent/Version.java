// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** What 5.x names differently. */
final class Version {
    /** Sets the message model of a push, pull or lite pull consumer; each has its own setter of the same name. */
    static void setBroadcasting(Object consumer, boolean broadcasting) throws Exception {
        MessageModel model = broadcasting ? MessageModel.BROADCASTING : MessageModel.CLUSTERING;
        consumer.getClass().getMethod("setMessageModel", MessageModel.class).invoke(consumer, model);
    }

    static void createTopic(DefaultMQProducer client, String key, String topic, int queues) throws Exception {
        client.createTopic(key, topic, queues, java.util.Collections.emptyMap());
    }
}
