// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.apache.rocketmq.remoting.protocol.admin.TopicOffset;
import org.apache.rocketmq.remoting.protocol.body.Connection;
import org.apache.rocketmq.remoting.protocol.body.ConsumerConnection;
import org.apache.rocketmq.remoting.protocol.heartbeat.SubscriptionData;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What scenarios prepare and look at through the admin API of 5.5.0, whichever client they are about. */
public final class Admin {
    private static final Map<String, DefaultMQAdminExt> BY_NAMESRV = new ConcurrentHashMap<>();

    public static void register() {
        Agent.OPS.put("ready", Admin::ready);
        Agent.OPS.put("topic", Admin::topic);
        Agent.OPS.put("delete_topic", Admin::deleteTopic);
        Agent.OPS.put("group", Admin::group);
        Agent.OPS.put("route", a -> route(admin(a), a.text("topic")));
        Agent.OPS.put("topic_stats", Admin::topicStats);
        Agent.OPS.put("progress", Admin::progress);
        Agent.OPS.put("connections", Admin::connections);
        Agent.OPS.put("broker_config", Admin::brokerConfig);
    }

    private static DefaultMQAdminExt admin(Args a) throws Exception {
        String namesrv = a.text("namesrv");
        synchronized (BY_NAMESRV) {
            DefaultMQAdminExt admin = BY_NAMESRV.get(namesrv);
            if (admin == null) {
                admin = new DefaultMQAdminExt(10_000);
                admin.setNamesrvAddr(namesrv);
                admin.setInstanceName("admin-" + namesrv);
                admin.start();
                BY_NAMESRV.put(namesrv, admin);
            }
            return admin;
        }
    }

    private static String master(DefaultMQAdminExt admin) throws Exception {
        for (BrokerData broker : admin.examineBrokerClusterInfo().getBrokerAddrTable().values())
            if (broker.getBrokerAddrs().containsKey(0L)) return broker.getBrokerAddrs().get(0L);
        throw new IllegalStateException("no master in the cluster");
    }

    /** The route as a list of queue counts, or null while there is none. */
    private static Map<String, Object> route(DefaultMQAdminExt admin, String topic) throws Exception {
        TopicRouteData route;
        try {
            route = admin.examineTopicRouteInfo(topic);
        } catch (MQClientException e) {
            if (e.getResponseCode() == 17) return null;
            throw e;
        }
        Map<String, Object> out = new LinkedHashMap<>();
        List<Object> queues = new ArrayList<>();
        for (QueueData q : route.getQueueDatas()) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("broker", q.getBrokerName());
            one.put("read", q.getReadQueueNums());
            one.put("write", q.getWriteQueueNums());
            one.put("perm", q.getPerm());
            queues.add(one);
        }
        out.put("queues", queues);
        List<Object> brokers = new ArrayList<>();
        for (BrokerData b : route.getBrokerDatas()) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("cluster", b.getCluster());
            one.put("name", b.getBrokerName());
            one.put("ids", new ArrayList<>(new TreeMap<>(b.getBrokerAddrs()).keySet()));
            brokers.add(one);
        }
        out.put("brokers", brokers);
        return out;
    }

    private static Object ready(Args a) throws Exception {
        return route(admin(a), "TBW102") != null;
    }

    /**
     * Creates or changes a topic and waits until the name server tells its new queue counts. The original can register
     * two changes in the wrong order, so the change is repeated if the route does not show it.
     */
    private static synchronized Object topic(Args a) throws Exception {
        DefaultMQAdminExt admin = admin(a);
        TopicConfig config = new TopicConfig(a.text("topic"));
        config.setReadQueueNums(a.integer("read", a.integer("queues", 4)));
        config.setWriteQueueNums(a.integer("write", a.integer("queues", 4)));
        config.setPerm(a.integer("perm", 6));
        config.setOrder(a.flag("order", false));
        Map<String, Object> seen = null;
        for (int attempt = 0; attempt < 40; attempt++) {
            if (attempt % 10 == 0) admin.createAndUpdateTopicConfig(master(admin), config);
            seen = route(admin, a.text("topic"));
            if (seen != null) {
                Map<?, ?> q = (Map<?, ?>) ((List<?>) seen.get("queues")).get(0);
                if (q.get("read").equals(config.getReadQueueNums()) && q.get("write").equals(config.getWriteQueueNums()) && q.get("perm").equals(config.getPerm()))
                    return seen;
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("the route never showed the topic as asked for: " + seen);
    }

    private static Object deleteTopic(Args a) throws Exception {
        DefaultMQAdminExt admin = admin(a);
        admin.deleteTopic(a.text("topic"), "DefaultCluster");
        return null;
    }

    private static Object group(Args a) throws Exception {
        DefaultMQAdminExt admin = admin(a);
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(a.text("group"));
        config.setConsumeEnable(a.flag("consume", true));
        config.setRetryMaxTimes(a.integer("retry_max", 16));
        config.setRetryQueueNums(a.integer("retry_queues", 1));
        config.setConsumeBroadcastEnable(a.flag("broadcast", true));
        admin.createAndUpdateSubscriptionGroupConfig(master(admin), config);
        return null;
    }

    private static Object topicStats(Args a) throws Exception {
        List<Map<String, Object>> out = new ArrayList<>();
        for (Map.Entry<MessageQueue, TopicOffset> e : admin(a).examineTopicStats(a.text("topic")).getOffsetTable().entrySet()) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("queue", e.getKey().getQueueId());
            one.put("min", e.getValue().getMinOffset());
            one.put("max", e.getValue().getMaxOffset());
            out.add(one);
        }
        out.sort(Comparator.comparing(o -> (Integer) o.get("queue")));
        return out;
    }

    /** What a group has consumed of a topic: per queue, and the sum of what it has not. */
    private static Object progress(Args a) throws Exception {
        ConsumeStats stats = admin(a).examineConsumeStats(a.text("group"), a.text("topic"));
        List<Map<String, Object>> queues = new ArrayList<>();
        long behind = 0;
        long consumed = 0;
        for (Map.Entry<MessageQueue, OffsetWrapper> e : stats.getOffsetTable().entrySet()) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("queue", e.getKey().getQueueId());
            one.put("broker_offset", e.getValue().getBrokerOffset());
            one.put("consumer_offset", e.getValue().getConsumerOffset());
            queues.add(one);
            behind += e.getValue().getBrokerOffset() - e.getValue().getConsumerOffset();
            consumed += e.getValue().getConsumerOffset();
        }
        queues.sort(Comparator.comparing(o -> (Integer) o.get("queue")));
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("queues", queues);
        out.put("behind", behind);
        out.put("consumed", consumed);
        return out;
    }

    private static Object connections(Args a) throws Exception {
        ConsumerConnection found;
        try {
            found = admin(a).examineConsumerConnectionInfo(a.text("group"));
        } catch (org.apache.rocketmq.client.exception.MQBrokerException e) {
            if (e.getResponseCode() == 206) return java.util.Collections.singletonMap("count", 0);
            throw e;
        }
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("count", found.getConnectionSet().size());
        List<Object> languages = new ArrayList<>();
        for (Connection c : found.getConnectionSet()) languages.add(c.getLanguage().name());
        out.put("languages", languages);
        out.put("model", found.getMessageModel().name());
        out.put("type", found.getConsumeType().name());
        out.put("from", found.getConsumeFromWhere().name());
        Map<String, Object> subscriptions = new TreeMap<>();
        for (SubscriptionData s : found.getSubscriptionTable().values()) subscriptions.put(s.getTopic(), s.getSubString());
        out.put("subscriptions", subscriptions);
        return out;
    }

    private static Object brokerConfig(Args a) throws Exception {
        DefaultMQAdminExt admin = admin(a);
        if (a.object("set") != null) {
            Properties properties = new Properties();
            for (Map.Entry<String, Object> e : a.object("set").map.entrySet()) properties.put(e.getKey(), String.valueOf(e.getValue()));
            admin.updateBrokerConfig(master(admin), properties);
        }
        return new TreeMap<Object, Object>(admin.getBrokerConfig(master(admin)));
    }
}
