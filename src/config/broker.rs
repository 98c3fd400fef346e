// SPDX-License-Identifier: Apache-2.0
//! The keys of `broker.conf`, with the defaults of 5.5.0: the original spreads them over five objects, and so gives `listenPort` two defaults.

use super::Standing::{Guarded, Inert, Live, Restart};
use super::declare::config;
use super::value::{cpus, text, unset};
use super::{BrokerRole, FlushDiskType, refuse_broker, why};

/// What no command changes: where files lie and how they are laid out is decided on the machine. A client would otherwise have the
/// next start write where it says, and delete what does not fit.
const FIXED_BLACK_LIST: [&str; 22] = [
    "authConfigPath",
    "brokerConfigPath",
    "compactionCqMappedFileSize",
    "compactionMappedFileSize",
    "configBlackList",
    "mapedFileSizeCommitLog",
    "mapedFileSizeConsumeQueue",
    "mappedFileSizeCommitLog",
    "mappedFileSizeConsumeQueue",
    "mappedFileSizeConsumeQueueExt",
    "mappedFileSizeTimerLog",
    "mapperFileSizeBatchConsumeQueue",
    "maxHashSlotNum",
    "maxIndexNum",
    "readOnlyCommitLogStorePaths",
    "rocketmqHome",
    "storePathBrokerIdentity",
    "storePathCommitLog",
    "storePathDLedgerCommitLog",
    "storePathEpochFile",
    "storePathRootDir",
    "useSeparateStorePathForRocksdbCQ",
];

config! {
    /// A broker's configuration. A text that is unset is empty.
    pub struct BrokerConfig, black list FIXED_BLACK_LIST, refusal refuse_broker {
        // --- of this server alone

        /// Which address each network is given for this broker: `NETWORK=HOST[:PORT]`, several separated by commas, as in `172.18.0.1/32=127.0.0.1`.
        advertise "advertise": String = unset() => Restart;
        /// Memory for what all connections of this process hold together; at least 16777216. 0: a quarter of what the process may use.
        memory_budget_bytes "memoryBudgetBytes": i64 = 0 => Restart;

        // --- BrokerConfig
        account_stats_enable "accountStatsEnable": bool = true => Inert(why::STATS);
        account_stats_print_zero_values "accountStatsPrintZeroValues": bool = true => Inert(why::STATS);
        ack_message_thread_pool_nums "ackMessageThreadPoolNums": i32 = 16 => Inert(why::POOLS);
        ack_thread_pool_queue_capacity "ackThreadPoolQueueCapacity": i32 = 100_000 => Inert(why::POOLS);
        acl_enable "aclEnable": bool = false => Guarded("true is refused, because access control is not there yet and ignoring it would leave the broker open");
        admin_broker_thread_pool_nums "adminBrokerThreadPoolNums": i32 = 16 => Inert(why::POOLS);
        admin_broker_thread_pool_queue_capacity "adminBrokerThreadPoolQueueCapacity": i32 = 10_000 => Inert(why::POOLS);
        allow_recall_when_broker_not_writeable "allowRecallWhenBrokerNotWriteable": bool = true => Inert(why::RECALL);
        append_ack_async "appendAckAsync": bool = false => Inert(why::POP);
        append_ck_async "appendCkAsync": bool = false => Inert(why::POP);
        async_send_enable "asyncSendEnable": bool = true => Inert(why::POOLS);
        /// Create a consumer group when it first appears.
        auto_create_subscription_group "autoCreateSubscriptionGroup": bool = true => Live;
        /// Create a topic on the first message sent to it.
        auto_create_topic_enable "autoCreateTopicEnable": bool = true => Live;
        auto_delete_unused_stats "autoDeleteUnusedStats": bool = true => Inert(why::STATS);
        batch_delete_subscription_group_max_rate "batchDeleteSubscriptionGroupMaxRate": f64 = 10.0 => Inert(why::RATE);
        batch_delete_topic_max_rate "batchDeleteTopicMaxRate": f64 = 10.0 => Inert(why::RATE);
        broadcast_offset_expire_max_second "broadcastOffsetExpireMaxSecond": i64 = 300 => Inert(why::PROXY);
        broadcast_offset_expire_second "broadcastOffsetExpireSecond": i64 = 120 => Inert(why::PROXY);
        /// The cluster this broker belongs to.
        broker_cluster_name "brokerClusterName": String = text("DefaultCluster") => Restart;
        broker_config_path "brokerConfigPath": String = unset() => Inert(why::CONFIG_PATH);
        broker_election_priority "brokerElectionPriority": i32 = i32::MAX => Inert(why::REPLICATION);
        /// Refuse requests with SYSTEM_BUSY when too much is in flight.
        broker_fast_failure_enable "brokerFastFailureEnable": bool = true => Live;
        /// With enableSlaveActingMaster: milliseconds between two signs of life to the name servers.
        broker_heartbeat_interval "brokerHeartbeatInterval": i32 = 1000 => Live;
        /// 0 of a master; of a slave the number above 0 by which clients and name servers tell it from others.
        broker_id "brokerId": i64 = 0 => Restart;
        /// The address that is registered with name servers, stored in messages and, when set, given to every client. Unset: the first non-loopback IPv4 address is stored and registered, and clients get an address on which they reach this server. A change by command is registered at once; message ids and stored messages keep the address of the start.
        broker_ip1 "brokerIP1": String = unset() => Live;
        /// With haListenPort the address of the replication port, as name servers tell it to slaves.
        broker_ip2 "brokerIP2": String = unset() => Live;
        /// Name of this broker within its cluster; the host name when unset.
        broker_name "brokerName": String = unset() => Restart;
        /// With enableSlaveActingMaster: after so many milliseconds without a sign of life name servers take this broker for gone.
        broker_not_active_timeout_millis "brokerNotActiveTimeoutMillis": i64 = 10_000 => Live;
        /// 4 read, 2 write, 6 both: what clients may do with this broker.
        broker_permission "brokerPermission": i32 = 6 => Live;
        /// Create the topic named after the broker.
        broker_topic_enable "brokerTopicEnable": bool = true => Restart;
        cg_cold_read_threshold "cgColdReadThreshold": i64 = 3_145_728 => Inert(why::COLD_DATA);
        channel_expired_timeout "channelExpiredTimeout": i64 = 120_000 => Inert(why::FIXED_EXPIRY);
        check_sync_state_set_period "checkSyncStateSetPeriod": i64 = 5000 => Inert(why::REPLICATION);
        clean_offline_broker_interval "cleanOfflineBrokerInterval": i32 = 30_000 => Inert(why::DEAD);
        clear_retry_topic_when_delete_topic "clearRetryTopicWhenDeleteTopic": bool = true => Live;
        client_manager_thread_pool_queue_capacity "clientManagerThreadPoolQueueCapacity": i32 = 1_000_000 => Inert(why::POOLS);
        client_manage_thread_pool_nums "clientManageThreadPoolNums": i32 = 32 => Inert(why::POOLS);
        /// Create the topic named after the cluster.
        cluster_topic_enable "clusterTopicEnable": bool = true => Restart;
        cold_ctr_strategy_enable "coldCtrStrategyEnable": bool = false => Inert(why::COLD_DATA);
        commercial_base_count "commercialBaseCount": i32 = 1 => Inert(why::DEAD);
        commercial_big_count "commercialBigCount": i32 = 1 => Inert(why::DEAD);
        commercial_enable "commercialEnable": bool = true => Inert(why::DEAD);
        commercial_size_per_msg "commercialSizePerMsg": i32 = 4096 => Inert(why::DEAD);
        commercial_timer_count "commercialTimerCount": i32 = 1 => Inert(why::DEAD);
        commercial_trans_count "commercialTransCount": i32 = 1 => Inert(why::DEAD);
        /// With enableSlaveActingMaster: give signs of life, and ask for the brokers of this name, in the words that name servers of 4.x know, too.
        compatible_with_old_name_srv "compatibleWithOldNameSrv": bool = true => Live;
        /// Register with name servers in the deflated form. One that cannot read it is told in the plain one.
        compressed_register "compressedRegister": bool = false => Live;
        /// Keys (semicolons between) that updateBrokerConfig refuses.
        config_black_list "configBlackList": String = text("configBlackList;brokerConfigPath") => Live;
        config_manager_version "configManagerVersion": String = text("v1") => Guarded("only v1 is served, because v2 keeps the tables in RocksDB");
        consumer_fallbehind_threshold "consumerFallbehindThreshold": i64 = 17_179_869_184 => Inert(why::FALL_BEHIND);
        consumer_manager_thread_pool_queue_capacity "consumerManagerThreadPoolQueueCapacity": i32 = 1_000_000 => Inert(why::POOLS);
        consumer_manage_thread_pool_nums "consumerManageThreadPoolNums": i32 = 32 => Inert(why::POOLS);
        /// Offset commits per step of the offset table's version.
        consumer_offset_update_version_step "consumerOffsetUpdateVersionStep": i64 = 500 => Live;
        controller_addr "controllerAddr": String = unset() => Inert(why::REPLICATION);
        controller_heart_beat_timeout_mills "controllerHeartBeatTimeoutMills": i64 = 10_000 => Inert(why::REPLICATION);
        default_message_request_mode "defaultMessageRequestMode": String = text("PULL") => Inert(why::POP);
        default_pop_share_queue_num "defaultPopShareQueueNum": i32 = -1 => Inert(why::POP);
        /// Queues of an automatically created topic, at most.
        default_topic_queue_nums "defaultTopicQueueNums": i32 = 8 => Live;
        /// Delivered delayed messages per step of the delay table's version.
        delay_offset_update_version_step "delayOffsetUpdateVersionStep": i64 = 200 => Restart;
        disable_consume_if_consumer_read_slowly "disableConsumeIfConsumerReadSlowly": bool = false => Inert(why::FALL_BEHIND);
        enable_broadcast_offset_store "enableBroadcastOffsetStore": bool = true => Inert(why::PROXY);
        enable_calc_filter_bit_map "enableCalcFilterBitMap": bool = false => Inert(why::SQL_BITMAP);
        enable_connection_metrics "enableConnectionMetrics": bool = true => Inert(why::METRICS);
        enable_controller_mode "enableControllerMode": bool = false => Guarded("true is refused, because there is no controller mode yet");
        /// Create the system consumer groups at start.
        enable_create_sys_group "enableCreateSysGroup": bool = true => Restart;
        enable_detail_stat "enableDetailStat": bool = true => Inert(why::STATS);
        enable_fast_channel_event_process "enableFastChannelEventProcess": bool = false => Inert(why::POOLS);
        enable_lag_and_dlq_metrics "enableLagAndDlqMetrics": bool = true => Inert(why::METRICS);
        enable_lite_event_mode "enableLiteEventMode": bool = true => Inert(why::LITE);
        enable_lite_pop_log "enableLitePopLog": bool = false => Inert(why::LITE);
        enable_lmq_stats "enableLmqStats": bool = false => Inert(why::LITE);
        enable_message_store_metrics "enableMessageStoreMetrics": bool = true => Inert(why::METRICS);
        /// Let topics carry the message type MIXED.
        enable_mixed_message_type "enableMixedMessageType": bool = false => Live;
        enable_net_work_flow_control "enableNetWorkFlowControl": bool = false => Inert(why::TUNING);
        enable_notify_after_pop_order_lock_release "enableNotifyAfterPopOrderLockRelease": bool = true => Inert(why::POP);
        enable_notify_before_pop_calculate_lag "enableNotifyBeforePopCalculateLag": bool = true => Inert(why::POP);
        enable_pop_batch_ack "enablePopBatchAck": bool = false => Inert(why::POP);
        enable_pop_buffer_merge "enablePopBufferMerge": bool = false => Inert(why::POP);
        enable_pop_log "enablePopLog": bool = false => Inert(why::POP);
        enable_pop_message_threshold "enablePopMessageThreshold": bool = false => Inert(why::POP);
        enable_pop_metrics "enablePopMetrics": bool = true => Inert(why::POP);
        enable_property_filter "enablePropertyFilter": bool = false => Inert(why::SQL_BITMAP);
        enable_register_producer "enableRegisterProducer": bool = true => Inert(why::ALWAYS);
        enable_remote_escape "enableRemoteEscape": bool = false => Inert(why::ESCAPE);
        enable_remoting_metrics "enableRemotingMetrics": bool = true => Inert(why::METRICS);
        enable_request_metrics "enableRequestMetrics": bool = true => Inert(why::METRICS);
        enable_retry_topic_v2 "enableRetryTopicV2": bool = false => Inert(why::POP);
        /// Tell name servers of a changed topic alone (217); otherwise the whole table goes, up to 1,000 topics.
        enable_single_topic_register "enableSingleTopicRegister": bool = false => Live;
        enable_skip_long_awaiting_ack "enableSkipLongAwaitingAck": bool = false => Inert(why::POP);
        /// The slave with the smallest id acts for a master that is gone, where supportActingMaster of the name servers says so, too. SYNC_MASTER: refuse a message before it is written where too few slaves are in sync to have it soon.
        enable_slave_acting_master "enableSlaveActingMaster": bool = false => Restart;
        /// Answer the tables of topics and groups in parts, to askers that can read parts.
        enable_split_metadata "enableSplitMetadata": bool = true => Live;
        /// Register in parts of splitRegistrationSize topics. A table that no frame holds goes in parts anyway.
        enable_split_registration "enableSplitRegistration": bool = false => Live;
        enable_stats_metrics "enableStatsMetrics": bool = true => Inert(why::METRICS);
        enable_transaction_metrics "enableTransactionMetrics": bool = true => Inert(why::METRICS);
        end_transaction_pool_queue_capacity "endTransactionPoolQueueCapacity": i32 = 100_000 => Inert(why::POOLS);
        end_transaction_thread_pool_nums "endTransactionThreadPoolNums": i32 = 8 + 2 * cpus() => Inert(why::POOLS);
        estimate_accumulation "estimateAccumulation": bool = true => Inert(why::STATS);
        expect_consumer_num_use_filter "expectConsumerNumUseFilter": i32 = 32 => Inert(why::SQL_BITMAP);
        fetch_controller_addr_by_dns_lookup "fetchControllerAddrByDnsLookup": bool = false => Inert(why::REPLICATION);
        fetch_namesrv_addr_by_address_server "fetchNamesrvAddrByAddressServer": bool = false => Inert(why::LOOKUP);
        fetch_name_srv_addr_by_dns_lookup "fetchNameSrvAddrByDnsLookup": bool = false => Inert(why::LOOKUP);
        fetch_namesrv_addr_interval "fetchNamesrvAddrInterval": i64 = 10_000 => Inert(why::LOOKUP);
        filter_data_clean_time_span "filterDataCleanTimeSpan": i64 = 86_400_000 => Inert(why::SQL_BITMAP);
        filter_server_nums "filterServerNums": i32 = 0 => Inert(why::DEAD);
        filter_support_retry "filterSupportRetry": bool = false => Inert(why::SQL_BITMAP);
        flush_consumer_offset_history_interval "flushConsumerOffsetHistoryInterval": i32 = 60_000 => Inert(why::DEAD);
        /// Milliseconds between two writes of the consumer offsets.
        flush_consumer_offset_interval "flushConsumerOffsetInterval": i32 = 5000 => Restart;
        /// Register each time, instead of asking the name server first whether anything changed.
        force_register "forceRegister": bool = true => Live;
        forward_timeout "forwardTimeout": i64 = 3000 => Inert(why::REPLICATION);
        global_cold_read_threshold "globalColdReadThreshold": i64 = 104_857_600 => Inert(why::COLD_DATA);
        heartbeat_thread_pool_nums "heartbeatThreadPoolNums": i32 = cpus().min(32) => Inert(why::POOLS);
        heartbeat_thread_pool_queue_capacity "heartbeatThreadPoolQueueCapacity": i32 = 50_000 => Inert(why::POOLS);
        high_speed_mode "highSpeedMode": bool = false => Inert(why::DEAD);
        in_broker_container "inBrokerContainer": bool = false => Inert(why::CONTAINER);
        init_pop_offset_by_check_msg_in_mem "initPopOffsetByCheckMsgInMem": bool = true => Inert(why::POP);
        is_broker_container "isBrokerContainer": bool = false => Inert(why::NO_SETTER);
        is_in_broker_container "isInBrokerContainer": bool = false => Inert(why::NO_SETTER);
        isolate_log_enable "isolateLogEnable": bool = false => Inert(why::LOGGING);
        lite_event_capacity_cache_ttl_ms "liteEventCapacityCacheTtlMs": i64 = 5000 => Inert(why::LITE);
        lite_event_check_interval "liteEventCheckInterval": i64 = 10_000 => Inert(why::LITE);
        lite_event_full_dispatch_delay_time "liteEventFullDispatchDelayTime": i64 = 10_000 => Inert(why::LITE);
        lite_event_full_dispatch_delay_time_for_wildcard_group "liteEventFullDispatchDelayTimeForWildcardGroup": i64 = 10_000 => Inert(why::LITE);
        lite_lag_count_metrics_enable "liteLagCountMetricsEnable": bool = false => Inert(why::LITE);
        lite_lag_latency_collect_enable "liteLagLatencyCollectEnable": bool = false => Inert(why::LITE);
        lite_lag_latency_metrics_enable "liteLagLatencyMetricsEnable": bool = false => Inert(why::LITE);
        lite_lag_latency_top_k "liteLagLatencyTopK": i32 = 50 => Inert(why::LITE);
        /// Serve LITE_PULL_MESSAGE.
        lite_pull_message_enable "litePullMessageEnable": bool = true => Live;
        lite_pull_message_thread_pool_nums "litePullMessageThreadPoolNums": i32 = 16 + 2 * cpus() => Inert(why::POOLS);
        lite_pull_thread_pool_queue_capacity "litePullThreadPoolQueueCapacity": i32 = 100_000 => Inert(why::POOLS);
        lite_subscription_check_interval "liteSubscriptionCheckInterval": i64 = 120_000 => Inert(why::LITE);
        lite_subscription_check_timeout_mills "liteSubscriptionCheckTimeoutMills": i64 = 180_000 => Inert(why::LITE);
        lite_ttl_check_interval "liteTtlCheckInterval": i64 = 120_000 => Inert(why::LITE);
        load_balance_poll_name_server_interval "loadBalancePollNameServerInterval": i64 = 30_000 => Inert(why::POP);
        load_balance_processor_thread_pool_nums "loadBalanceProcessorThreadPoolNums": i32 = 32 => Inert(why::POOLS);
        load_balance_thread_pool_queue_capacity "loadBalanceThreadPoolQueueCapacity": i32 = 100_000 => Inert(why::POOLS);
        lock_in_strict_mode "lockInStrictMode": bool = false => Inert(why::REPLICATION);
        /// Let a pull wait for messages as long as its client allows.
        long_polling_enable "longPollingEnable": bool = true => Live;
        max_client_event_count "maxClientEventCount": i32 = 100 => Inert(why::LITE);
        max_delay_time "maxDelayTime": i32 = 40 => Inert(why::DEAD);
        max_error_rate_of_bloom_filter "maxErrorRateOfBloomFilter": i32 = 20 => Inert(why::SQL_BITMAP);
        max_lite_subscription_count "maxLiteSubscriptionCount": i64 = 100_000 => Inert(why::LITE);
        max_message_filter_num_for_notification "maxMessageFilterNumForNotification": i32 = 64 => Inert(why::POP);
        max_pop_polling_size "maxPopPollingSize": i64 = 100_000 => Inert(why::POP);
        max_stats_idle_time_in_minutes "maxStatsIdleTimeInMinutes": i32 = -1 => Inert(why::STATS);
        message_store_plug_in "messageStorePlugIn": String = unset() => Inert(why::TUNING);
        metric_grpc_exporter_interval_in_mills "metricGrpcExporterIntervalInMills": i64 = 60_000 => Inert(why::METRICS);
        metric_grpc_exporter_time_out_in_mills "metricGrpcExporterTimeOutInMills": i64 = 3000 => Inert(why::METRICS);
        metric_logging_exporter_interval_in_mills "metricLoggingExporterIntervalInMills": i64 = 10_000 => Inert(why::METRICS);
        metrics_export_batch_max_concurrent "metricsExportBatchMaxConcurrent": i32 = 4 => Inert(why::METRICS);
        metrics_export_batch_max_data_points "metricsExportBatchMaxDataPoints": i32 = 1000 => Inert(why::METRICS);
        metrics_export_batch_split_enabled "metricsExportBatchSplitEnabled": bool = true => Inert(why::LITE);
        metrics_exporter_type "metricsExporterType": String = text("DISABLE") => Inert(why::METRICS);
        metrics_export_otel_memory_mode "metricsExportOtelMemoryMode": String = text("IMMUTABLE_DATA") => Inert(why::METRICS);
        metrics_grpc_exporter_header "metricsGrpcExporterHeader": String = unset() => Inert(why::METRICS);
        metrics_grpc_exporter_target "metricsGrpcExporterTarget": String = unset() => Inert(why::METRICS);
        metrics_in_delta "metricsInDelta": bool = false => Inert(why::METRICS);
        metrics_label "metricsLabel": String = unset() => Inert(why::METRICS);
        metrics_otel_cardinality_limit "metricsOtelCardinalityLimit": i32 = 50_000 => Inert(why::METRICS);
        metrics_prom_exporter_host "metricsPromExporterHost": String = unset() => Inert(why::METRICS);
        metrics_prom_exporter_port "metricsPromExporterPort": i32 = 5557 => Inert(why::METRICS);
        min_lite_ttl "minLiteTTl": i64 = 900_000 => Inert(why::LITE);
        /// The topic of message traces.
        msg_trace_topic_name "msgTraceTopicName": String = text("RMQ_SYS_TRACE_TOPIC") => Restart;
        /// Name servers to register with, separated by semicolons. Also -n and NAMESRV_ADDR.
        namesrv_addr "namesrvAddr": String = unset() => Live;
        /// Tell the other consumers of a group when one joins or leaves.
        notify_consumer_ids_changed_enable "notifyConsumerIdsChangedEnable": bool = true => Live;
        persist_consumer_offset_incrementally "persistConsumerOffsetIncrementally": bool = false => Inert(why::TUNING);
        pop_ck_max_buffer_size "popCkMaxBufferSize": i32 = 200_000 => Inert(why::POP);
        pop_ck_offset_max_queue_size "popCkOffsetMaxQueueSize": i32 = 20_000 => Inert(why::POP);
        pop_ck_stay_buffer_time "popCkStayBufferTime": i32 = 10_000 => Inert(why::POP);
        pop_ck_stay_buffer_time_out "popCkStayBufferTimeOut": i32 = 3000 => Inert(why::POP);
        pop_consumer_fs_service_init "popConsumerFSServiceInit": bool = true => Inert(why::POP);
        pop_consumer_kv_service_enable "popConsumerKVServiceEnable": bool = false => Inert(why::POP);
        pop_consumer_kv_service_init "popConsumerKVServiceInit": bool = false => Inert(why::POP);
        pop_consumer_kv_service_log "popConsumerKVServiceLog": bool = false => Inert(why::POP);
        pop_from_retry_probability "popFromRetryProbability": i32 = 20 => Inert(why::POP);
        pop_from_retry_probability_for_priority "popFromRetryProbabilityForPriority": i32 = 0 => Inert(why::POP);
        pop_inflight_message_threshold "popInflightMessageThreshold": i64 = 10_000 => Inert(why::POP);
        pop_long_polling_force_notify_interval "popLongPollingForceNotifyInterval": i64 = 800 => Inert(why::POP);
        pop_order_lock_timer_tick_ms "popOrderLockTimerTickMs": i64 = 100 => Inert(why::POP);
        pop_order_lock_timer_ticks_per_wheel "popOrderLockTimerTicksPerWheel": i32 = 512 => Inert(why::POP);
        pop_polling_map_expire_time_seconds "popPollingMapExpireTimeSeconds": i32 = 600 => Inert(why::POP);
        pop_polling_map_size "popPollingMapSize": i32 = 100_000 => Inert(why::POP);
        pop_polling_size "popPollingSize": i32 = 1024 => Inert(why::POP);
        pop_response_return_actual_retry_topic "popResponseReturnActualRetryTopic": bool = false => Inert(why::POP);
        pop_revive_concurrency "popReviveConcurrency": i32 = 32 => Inert(why::POP);
        pop_revive_max_attempt_times "popReviveMaxAttemptTimes": i32 = 16 => Inert(why::POP);
        pop_revive_max_return_size_per_read "popReviveMaxReturnSizePerRead": i32 = 16_384 => Inert(why::POP);
        pop_revive_skip_if_group_absent "popReviveSkipIfGroupAbsent": bool = true => Inert(why::POP);
        print_channel_groups "printChannelGroups": bool = false => Inert(why::LOGGING);
        print_channel_groups_min_num "printChannelGroupsMinNum": i32 = 5 => Inert(why::LOGGING);
        priority_order_asc "priorityOrderAsc": bool = true => Inert(why::POP);
        process_reply_message_thread_pool_nums "processReplyMessageThreadPoolNums": i32 = 16 + 2 * cpus() => Inert(why::POOLS);
        pull_message_thread_pool_nums "pullMessageThreadPoolNums": i32 = 16 + 2 * cpus() => Inert(why::POOLS);
        pull_thread_pool_queue_capacity "pullThreadPoolQueueCapacity": i32 = 100_000 => Inert(why::POOLS);
        put_message_future_thread_pool_nums "putMessageFutureThreadPoolNums": i32 = cpus().min(4) => Inert(why::POOLS);
        put_thread_pool_queue_capacity "putThreadPoolQueueCapacity": i32 = 10_000 => Inert(why::POOLS);
        query_message_thread_pool_nums "queryMessageThreadPoolNums": i32 = 8 + cpus() => Inert(why::POOLS);
        query_thread_pool_queue_capacity "queryThreadPoolQueueCapacity": i32 = 20_000 => Inert(why::POOLS);
        /// Notify of a changed group at once.
        real_time_notify_consumer_change "realTimeNotifyConsumerChange": bool = true => Live;
        recall_message_enable "recallMessageEnable": bool = false => Inert(why::RECALL);
        recover_concurrently "recoverConcurrently": bool = false => Inert(why::RECOVERY);
        recover_thread_pool_nums "recoverThreadPoolNums": i32 = 32 => Inert(why::POOLS);
        /// Written into each message and its reply as MSG_REGION.
        region_id "regionId": String = text("DefaultRegion") => Live;
        /// How long a registration may take per name server.
        register_broker_timeout_mills "registerBrokerTimeoutMills": i32 = 24_000 => Live;
        /// Milliseconds between two registrations, kept within 10 and 60 seconds.
        register_name_server_period "registerNameServerPeriod": i32 = 30_000 => Restart;
        /// Refuse pull consumers in heartbeats.
        reject_pull_consumer_enable "rejectPullConsumerEnable": bool = false => Live;
        /// Refuse half messages.
        reject_transaction_message "rejectTransactionMessage": bool = false => Live;
        /// So many replies to requests may wait at the same time.
        reply_thread_pool_queue_capacity "replyThreadPoolQueueCapacity": i32 = 10_000 => Live;
        retrieve_message_from_pop_retry_topic_v1 "retrieveMessageFromPopRetryTopicV1": bool = true => Inert(why::POP);
        revive_ack_wait_ms "reviveAckWaitMs": i64 = 180_000 => Inert(why::POP);
        revive_interval "reviveInterval": i64 = 1000 => Inert(why::POP);
        revive_max_slow "reviveMaxSlow": i64 = 3 => Inert(why::POP);
        revive_queue_num "reviveQueueNum": i32 = 8 => Inert(why::POP);
        revive_scan_time "reviveScanTime": i64 = 10_000 => Inert(why::POP);
        /// Where the original keeps its scripts; nothing is read from there.
        rocketmq_home "rocketmqHome": String = unset() => Restart;
        /// With enableSlaveActingMaster: how long the connection for a sign of life may take, in milliseconds.
        send_heartbeat_timeout_millis "sendHeartbeatTimeoutMillis": i32 = 1000 => Live;
        send_message_thread_pool_nums "sendMessageThreadPoolNums": i32 = cpus().min(4) => Inert(why::POOLS);
        /// Sends that wait for their answer (for the disk, or a new topic to be announced), at most; more are refused as busy.
        send_thread_pool_queue_capacity "sendThreadPoolQueueCapacity": i32 = 10_000 => Live;
        server_load_balancer_enable "serverLoadBalancerEnable": bool = true => Inert(why::POP);
        /// How long a pull waits when long polling is off.
        short_polling_time_mills "shortPollingTimeMills": i64 = 1000 => Live;
        /// With enableSlaveActingMaster and totalReplicas: tell clients of this broker at once, without what was consumed at a slave meanwhile.
        skip_pre_online "skipPreOnline": bool = false => Restart;
        skip_when_ck_re_put_reach_max_times "skipWhenCKRePutReachMaxTimes": bool = false => Inert(why::POP);
        /// Of a slave: let consumers read from it. Of a master: send consumers to a slave whose messages are no longer in memory here.
        slave_read_enable "slaveReadEnable": bool = false => Live;
        /// Entries of one part.
        split_metadata_size "splitMetadataSize": i32 = 2000 => Live;
        /// Topics of one part of a registration.
        split_registration_size "splitRegistrationSize": i32 = 800 => Live;
        /// Refuse sends before this moment (milliseconds since 1970).
        start_accept_send_request_time_stamp "startAcceptSendRequestTimeStamp": i64 = 0 => Live;
        /// Store the replies to requests, too, in the topic of the cluster for them.
        store_reply_message_enable "storeReplyMessageEnable": bool = true => Live;
        subscription_expired_timeout "subscriptionExpiredTimeout": i64 = 600_000 => Inert(why::FIXED_EXPIRY);
        /// With enableSlaveActingMaster: milliseconds between two questions to the name servers which brokers of this name live.
        sync_broker_member_group_period "syncBrokerMemberGroupPeriod": i32 = 1000 => Live;
        sync_broker_metadata_period "syncBrokerMetadataPeriod": i64 = 5000 => Inert(why::REPLICATION);
        sync_controller_metadata_period "syncControllerMetadataPeriod": i64 = 10_000 => Inert(why::REPLICATION);
        /// Written into each message and its reply as TRACE_ON.
        trace_on "traceOn": bool = true => Live;
        /// Create the trace topic.
        trace_topic_enable "traceTopicEnable": bool = false => Restart;
        /// Between two questions about one half message, in milliseconds.
        transaction_check_interval "transactionCheckInterval": i64 = 30_000 => Live;
        /// So many questions about a half message that nobody answers, then it is given up.
        transaction_check_max "transactionCheckMax": i32 = 15 => Live;
        transaction_check_rocksdb_core_threads "transactionCheckRocksdbCoreThreads": i32 = 2 => Inert(why::ROCKSDB);
        transaction_check_rocksdb_max_threads "transactionCheckRocksdbMaxThreads": i32 = 5 => Inert(why::ROCKSDB);
        transaction_check_rocksdb_queue_capacity "transactionCheckRocksdbQueueCapacity": i32 = 2000 => Inert(why::ROCKSDB);
        /// Between two writes of `config/transactionMetrics`, in milliseconds.
        transaction_metric_flush_interval "transactionMetricFlushInterval": i64 = 10_000 => Live;
        /// How long the end of a transaction waits for others to share its op message, in milliseconds.
        transaction_op_batch_interval "transactionOpBatchInterval": i32 = 3000 => Live;
        /// Bytes of one op message.
        transaction_op_msg_max_size "transactionOpMsgMaxSize": i32 = 4096 => Live;
        /// How long nobody is asked about a half message that does not say so itself, in milliseconds.
        transaction_time_out "transactionTimeOut": i64 = 6000 => Live;
        transfer_msg_by_heap "transferMsgByHeap": bool = true => Inert(why::TUNING);
        update_name_server_addr_period "updateNameServerAddrPeriod": i32 = 120_000 => Inert(why::LOOKUP);
        use_message_filter_for_notification "useMessageFilterForNotification": bool = true => Inert(why::POP);
        use_pid_cold_ctr_strategy "usePIDColdCtrStrategy": bool = true => Inert(why::COLD_DATA);
        use_separate_retry_queue "useSeparateRetryQueue": bool = false => Inert(why::POP);
        /// Remember a reset until the group pulls again, so that clients need not be told.
        use_server_side_reset_offset "useServerSideResetOffset": bool = true => Live;
        use_single_rocksdb_for_all_configs "useSingleRocksDBForAllConfigs": bool = false => Inert(why::ROCKSDB);
        use_static_subscription "useStaticSubscription": bool = false => Inert(why::STATIC_SUBSCRIPTION);
        /// Refuse to create or change a system topic by command.
        validate_system_topic_when_update_topic "validateSystemTopicWhenUpdateTopic": bool = true => Live;
        wait_time_mills_in_ack_queue "waitTimeMillsInAckQueue": i64 = 3000 => Inert(why::POP);
        /// How long an administrator's request may wait before it is refused with SYSTEM_BUSY.
        wait_time_mills_in_admin_broker_queue "waitTimeMillsInAdminBrokerQueue": i64 = 5000 => Live;
        /// How long a heartbeat may wait before it is refused with SYSTEM_BUSY.
        wait_time_mills_in_heartbeat_queue "waitTimeMillsInHeartbeatQueue": i64 = 31_000 => Live;
        /// How long a lite pull may wait before it is refused with SYSTEM_BUSY.
        wait_time_mills_in_lite_pull_queue "waitTimeMillsInLitePullQueue": i64 = 5000 => Live;
        /// How long a pull may wait before it is refused with SYSTEM_BUSY.
        wait_time_mills_in_pull_queue "waitTimeMillsInPullQueue": i64 = 5000 => Live;
        /// How long a send may wait before it is refused with SYSTEM_BUSY.
        wait_time_mills_in_send_queue "waitTimeMillsInSendQueue": i64 = 200 => Live;
        /// How long an END_TRANSACTION may wait to be served, in milliseconds.
        wait_time_mills_in_transaction_queue "waitTimeMillsInTransactionQueue": i64 = 3000 => Live;

        // --- NettyServerConfig
        /// The local address to listen on; 0.0.0.0 is every address, IPv6 too.
        bind_address "bindAddress": String = text("0.0.0.0") => Restart;
        enable_shutdown_gracefully "enableShutdownGracefully": bool = false => Inert(why::NETTY);
        /// The port for clients; the VIP port is two below it. 0 picks a free one and says which. A change by command changes the port that is registered, and the one that the next start listens on.
        listen_port "listenPort": i32 = 10911 => Live;
        server_async_semaphore_value "serverAsyncSemaphoreValue": i32 = 64 => Inert(why::POOLS);
        server_callback_executor_threads "serverCallbackExecutorThreads": i32 = 0 => Inert(why::POOLS);
        /// Close a connection on which nothing moved for so long.
        server_channel_max_idle_time_seconds "serverChannelMaxIdleTimeSeconds": i32 = 120 => Restart;
        server_netty_worker_group_enable "serverNettyWorkerGroupEnable": bool = true => Inert(why::NETTY);
        server_oneway_semaphore_value "serverOnewaySemaphoreValue": i32 = 256 => Inert(why::POOLS);
        server_pooled_byte_buf_allocator_enable "serverPooledByteBufAllocatorEnable": bool = true => Inert(why::NETTY);
        server_selector_threads "serverSelectorThreads": i32 = 3 => Inert(why::POOLS);
        server_socket_backlog "serverSocketBacklog": i32 = 1024 => Inert(why::DEAD);
        server_socket_rcv_buf_size "serverSocketRcvBufSize": i32 = 0 => Inert(why::NETTY);
        server_socket_snd_buf_size "serverSocketSndBufSize": i32 = 0 => Inert(why::NETTY);
        server_worker_threads "serverWorkerThreads": i32 = 8 => Inert(why::POOLS);
        shutdown_wait_time_seconds "shutdownWaitTimeSeconds": i32 = 30 => Inert(why::NETTY);
        use_epoll_native_selector "useEpollNativeSelector": bool = false => Inert(why::NETTY);
        write_buffer_high_water_mark "writeBufferHighWaterMark": i32 = 0 => Inert(why::NETTY);
        write_buffer_low_water_mark "writeBufferLowWaterMark": i32 = 0 => Inert(why::NETTY);

        // --- NettyClientConfig
        channel_not_active_interval "channelNotActiveInterval": i64 = 60_000 => Inert(why::NETTY);
        client_async_semaphore_value "clientAsyncSemaphoreValue": i32 = 65_535 => Inert(why::POOLS);
        client_callback_executor_threads "clientCallbackExecutorThreads": i32 = cpus() => Inert(why::POOLS);
        client_channel_max_idle_time_seconds "clientChannelMaxIdleTimeSeconds": i32 = 120 => Inert(why::NETTY);
        client_close_socket_if_timeout "clientCloseSocketIfTimeout": bool = true => Inert(why::NETTY);
        client_oneway_semaphore_value "clientOnewaySemaphoreValue": i32 = 65_535 => Inert(why::POOLS);
        client_pooled_byte_buf_allocator_enable "clientPooledByteBufAllocatorEnable": bool = false => Inert(why::NETTY);
        client_socket_rcv_buf_size "clientSocketRcvBufSize": i32 = 0 => Inert(why::NETTY);
        client_socket_snd_buf_size "clientSocketSndBufSize": i32 = 0 => Inert(why::NETTY);
        client_worker_threads "clientWorkerThreads": i32 = 4 => Inert(why::POOLS);
        connect_timeout_millis "connectTimeoutMillis": i32 = 3000 => Inert(why::NETTY);
        disable_callback_executor "disableCallbackExecutor": bool = false => Inert(why::NETTY);
        disable_netty_worker_group "disableNettyWorkerGroup": bool = false => Inert(why::NETTY);
        enable_reconnect_for_go_away "enableReconnectForGoAway": bool = true => Inert(why::NETTY);
        is_scan_available_name_srv "isScanAvailableNameSrv": bool = true => Inert(why::NO_SETTER);
        max_reconnect_interval_time_seconds "maxReconnectIntervalTimeSeconds": i64 = 60 => Inert(why::DEAD);
        scan_available_name_srv "scanAvailableNameSrv": bool = true => Inert(why::NETTY);
        socks_proxy_config "socksProxyConfig": String = text("{}") => Inert(why::NETTY);
        use_tls "useTLS": bool = false => Inert(why::NETTY);

        // --- MessageStoreConfig
        access_message_in_memory_hot_ratio "accessMessageInMemoryHotRatio": i32 = 26 => Inert(why::TUNING);
        /// Percent of the memory within which a message counts as being in memory.
        access_message_in_memory_max_ratio "accessMessageInMemoryMaxRatio": i32 = 40 => Live;
        all_ack_in_sync_state_set "allAckInSyncStateSet": bool = false => Inert(why::REPLICATION);
        append_topic_for_timer_delete_key "appendTopicForTimerDeleteKey": bool = false => Inert(why::TIMER);
        async_learner "asyncLearner": bool = false => Inert(why::REPLICATION);
        auto_message_version_on_topic_len "autoMessageVersionOnTopicLen": bool = true => Inert(why::ALWAYS);
        batch_dispatch_request_thread_pool_nums "batchDispatchRequestThreadPoolNums": i32 = 16 => Inert(why::POOLS);
        bit_map_length_consume_queue_ext "bitMapLengthConsumeQueueExt": i32 = 64 => Inert(why::SQL_BITMAP);
        bottom_most_compression_type_for_consume_queue_store "bottomMostCompressionTypeForConsumeQueueStore": String = text("zstd") => Inert(why::ROCKSDB);
        /// ASYNC_MASTER; SYNC_MASTER, whose sends wait for slaves as inSyncReplicas says; or SLAVE: a copy of the log and the tables of the master with the same brokerName.
        broker_role "brokerRole": BrokerRole = BrokerRole::AsyncMaster => Restart;
        check_commit_log_offset_on_recover "checkCommitLogOffsetOnRecover": bool = false => Inert(why::RECOVERY);
        /// Check the CRC of each message while recovering the CommitLog.
        check_crc_on_recover "checkCRCOnRecover": bool = true => Restart;
        /// Allow deleting files that have not expired when the disk is nearly full.
        clean_file_forcibly_enable "cleanFileForciblyEnable": bool = true => Live;
        /// Milliseconds between two looks for expired files.
        clean_resource_interval "cleanResourceInterval": i32 = 10_000 => Live;
        clean_rocksdb_dirty_cq_interval_min "cleanRocksDBDirtyCQIntervalMin": i64 = 60 => Inert(why::ROCKSDB);
        clean_swaped_map_interval "cleanSwapedMapInterval": i64 = 300_000 => Inert(why::TUNING);
        cold_data_flow_control_enable "coldDataFlowControlEnable": bool = false => Inert(why::COLD_DATA);
        cold_data_scan_enable "coldDataScanEnable": bool = false => Inert(why::COLD_DATA);
        combine_assign_offset_cq_type "combineAssignOffsetCQType": String = text("default") => Inert(why::ROCKSDB);
        combine_cq_enable_check_self "combineCQEnableCheckSelf": bool = false => Inert(why::ROCKSDB);
        combine_cq_loading_cq_types "combineCQLoadingCQTypes": String = text("default;defaultRocksDB") => Inert(why::ROCKSDB);
        combine_cq_max_extra_search_commit_log_files "combineCQMaxExtraSearchCommitLogFiles": i32 = 3 => Inert(why::ROCKSDB);
        combine_cq_prefer_cq_type "combineCQPreferCQType": String = text("default") => Inert(why::ROCKSDB);
        combine_cq_use_rocksdb_for_lmq "combineCQUseRocksdbForLmq": bool = false => Inert(why::ROCKSDB);
        commit_commit_log_least_pages "commitCommitLogLeastPages": i32 = 4 => Inert(why::TUNING);
        commit_commit_log_thorough_interval "commitCommitLogThoroughInterval": i32 = 200 => Inert(why::TUNING);
        commit_interval_commit_log "commitIntervalCommitLog": i32 = 200 => Inert(why::TUNING);
        commit_log_force_swap_map_interval "commitLogForceSwapMapInterval": i64 = 43_200_000 => Inert(why::TUNING);
        commit_log_recover_max_num "commitLogRecoverMaxNum": i32 = 10 => Inert(why::RECOVERY);
        commit_log_swap_map_interval "commitLogSwapMapInterval": i64 = 3_600_000 => Inert(why::TUNING);
        commit_log_swap_map_reserve_file_num "commitLogSwapMapReserveFileNum": i32 = 100 => Inert(why::TUNING);
        compaction_cq_mapped_file_size "compactionCqMappedFileSize": i32 = 10_485_760 => Inert(why::COMPACTION);
        compaction_mapped_file_size "compactionMappedFileSize": i32 = 104_857_600 => Inert(why::COMPACTION);
        compaction_schedule_internal "compactionScheduleInternal": i32 = 900_000 => Inert(why::COMPACTION);
        compaction_thread_num "compactionThreadNum": i32 = 6 => Inert(why::POOLS);
        correct_logic_min_offset_force_interval "correctLogicMinOffsetForceInterval": i32 = 300_000 => Inert(why::TUNING);
        correct_logic_min_offset_sleep_interval "correctLogicMinOffsetSleepInterval": i32 = 1 => Inert(why::TUNING);
        correct_min_offset_madvise_enable "correctMinOffsetMadviseEnable": bool = false => Inert(why::TUNING);
        data_read_ahead_enable "dataReadAheadEnable": bool = true => Inert(why::TUNING);
        debug_lock_enable "debugLockEnable": bool = false => Inert(why::LOGGING);
        /// Messages of one query by unique key, at most.
        default_query_max_num "defaultQueryMaxNum": i32 = 32 => Live;
        delete_commit_log_files_interval "deleteCommitLogFilesInterval": i32 = 100 => Inert(why::TUNING);
        delete_consume_queue_files_interval "deleteConsumeQueueFilesInterval": i32 = 100 => Inert(why::TUNING);
        /// Files deleted at a time, at most.
        delete_file_batch_max "deleteFileBatchMax": i32 = 10 => Live;
        /// Hours of the day (local time, semicolons between) in which expired files are deleted.
        delete_when "deleteWhen": String = text("04") => Live;
        destroy_maped_file_interval_forcibly "destroyMapedFileIntervalForcibly": i32 = 120_000 => Inert(why::TUNING);
        disappear_time_after_start "disappearTimeAfterStart": i32 = -1 => Inert(why::TIMER);
        disk_fall_recorded "diskFallRecorded": bool = true => Inert(why::TUNING);
        /// Percent of the disk in use from which expired files are deleted at any hour.
        disk_max_used_space_ratio "diskMaxUsedSpaceRatio": i32 = 75 => Live;
        /// Percent of the disk in use from which the oldest files are deleted although they have not expired.
        disk_space_clean_forcibly_ratio "diskSpaceCleanForciblyRatio": i32 = 85 => Live;
        /// Percent of the disk in use from which sends are refused.
        disk_space_warning_level_ratio "diskSpaceWarningLevelRatio": i32 = 90 => Live;
        dispatch_cq_cache_num "dispatchCqCacheNum": i32 = 4096 => Inert(why::TUNING);
        dispatch_cq_threads "dispatchCqThreads": i32 = 10 => Inert(why::POOLS);
        dispatch_from_sender_thread "dispatchFromSenderThread": bool = false => Inert(why::TUNING);
        dleger_group "dLegerGroup": String = unset() => Inert(why::REPLICATION);
        dleger_peers "dLegerPeers": String = unset() => Inert(why::REPLICATION);
        dleger_self_id "dLegerSelfId": String = unset() => Inert(why::REPLICATION);
        duplication_enable "duplicationEnable": bool = false => Inert(why::TUNING);
        enable_accelerated_recovery "enableAcceleratedRecovery": bool = false => Inert(why::RECOVERY);
        enable_async_reput "enableAsyncReput": bool = true => Inert(why::TUNING);
        /// With enableSlaveActingMaster: where fewer slaves are in sync than inSyncReplicas wants these will do, down to minInSyncReplicas.
        enable_auto_in_sync_replicas "enableAutoInSyncReplicas": bool = false => Live;
        enable_batch_push "enableBatchPush": bool = false => Inert(why::TUNING);
        enable_build_consume_queue_concurrently "enableBuildConsumeQueueConcurrently": bool = false => Inert(why::RECOVERY);
        enable_clean_expired_offset "enableCleanExpiredOffset": bool = false => Inert(why::TUNING);
        enable_compaction "enableCompaction": bool = true => Inert(why::COMPACTION);
        enable_consume_queue_ext "enableConsumeQueueExt": bool = false => Inert(why::SQL_BITMAP);
        enabled_append_prop_crc "enabledAppendPropCRC": bool = false => Inert(why::RECOVERY);
        enable_dleger_commit_log "enableDLegerCommitLog": bool = false => Guarded("true is refused, because DLedger keeps messages in another format");
        enable_lmq "enableLmq": bool = false => Inert(why::LITE);
        enable_lmq_quota "enableLmqQuota": bool = false => Inert(why::LITE);
        enable_log_consume_queue_repeatedly_build_when_recover "enableLogConsumeQueueRepeatedlyBuildWhenRecover": bool = false => Inert(why::LOGGING);
        enable_multi_dispatch "enableMultiDispatch": bool = false => Inert(why::LITE);
        enable_rocksdb_log "enableRocksDBLog": bool = false => Inert(why::ROCKSDB);
        enable_running_flags_in_flush "enableRunningFlagsInFlush": bool = false => Inert(why::RECOVERY);
        enable_schedule_async_deliver "enableScheduleAsyncDeliver": bool = false => Inert(why::SCHEDULE);
        enable_schedule_message_stats "enableScheduleMessageStats": bool = true => Inert(why::STATS);
        fast_fail_if_no_buffer_in_store_pool "fastFailIfNoBufferInStorePool": bool = false => Inert(why::TUNING);
        /// Hours after its last message that a CommitLog file is kept.
        file_reserved_time "fileReservedTime": i32 = 72 => Live;
        /// ASYNC_FLUSH: pages that must be waiting before a write.
        flush_commit_log_least_pages "flushCommitLogLeastPages": i32 = 4 => Live;
        /// ASYNC_FLUSH: milliseconds after which everything is written whatever the pages.
        flush_commit_log_thorough_interval "flushCommitLogThoroughInterval": i32 = 10_000 => Live;
        flush_commit_log_timed "flushCommitLogTimed": bool = true => Inert(why::ALWAYS);
        flush_consume_queue_least_pages "flushConsumeQueueLeastPages": i32 = 2 => Inert(why::TUNING);
        /// Milliseconds after which every ConsumeQueue is written whatever the pages.
        flush_consume_queue_thorough_interval "flushConsumeQueueThoroughInterval": i32 = 60_000 => Live;
        /// Milliseconds between two writes of delayOffset.json.
        flush_delay_offset_interval "flushDelayOffsetInterval": i64 = 10_000 => Restart;
        /// ASYNC_FLUSH acknowledges when a message is in the page cache, SYNC_FLUSH when it is on the disk.
        flush_disk_type "flushDiskType": FlushDiskType = FlushDiskType::AsyncFlush => Restart;
        /// ASYNC_FLUSH: milliseconds between two writes to the disk.
        flush_interval_commit_log "flushIntervalCommitLog": i32 = 500 => Live;
        /// Milliseconds between two writes of the ConsumeQueues.
        flush_interval_consume_queue "flushIntervalConsumeQueue": i32 = 1000 => Inert(why::QUEUE_SYNC);
        flush_least_pages_when_warm_maped_file "flushLeastPagesWhenWarmMapedFile": i32 = 4096 => Inert(why::TUNING);
        force_verify_prop_crc "forceVerifyPropCRC": bool = false => Inert(why::RECOVERY);
        /// Send a slave no more than maxHaTransferByteInSecond.
        ha_flow_control_enable "haFlowControlEnable": bool = false => Live;
        /// A replication connection on which nothing comes for so long is closed, in milliseconds.
        ha_housekeeping_interval "haHousekeepingInterval": i32 = 20_000 => Live;
        /// Where a master listens to slaves, on bindAddress (the original: on every address), and the port of brokerIP2 that they are told. 0 is the one above listenPort; with listenPort=0 one that the machine chooses. A change by command changes the port that is told, and the one that the next start listens on.
        ha_listen_port "haListenPort": i32 = 0 => Live;
        /// The replication port of this slave's master, as in 192.168.0.1:10912; unset: name servers say where it is.
        ha_master_address "haMasterAddress": String = unset() => Live;
        /// A slave that lacks fewer bytes of the log is in sync.
        ha_max_gap_not_in_sync "haMaxGapNotInSync": i32 = 268_435_456 => Live;
        ha_max_time_slave_not_catchup "haMaxTimeSlaveNotCatchup": i64 = 15_000 => Inert(why::REPLICATION);
        /// Over a replication connection something is said at least so often, in milliseconds.
        ha_send_heartbeat_interval "haSendHeartbeatInterval": i32 = 5000 => Live;
        ha_slave_fallbehind_max "haSlaveFallbehindMax": i32 = 268_435_456 => Inert(why::REPLICATION);
        /// Bytes of the log that a slave is sent at once, at most.
        ha_transfer_batch_size "haTransferBatchSize": i32 = 32_768 => Live;
        index_file_read_enable "indexFileReadEnable": bool = true => Inert(why::INDEX);
        index_file_write_enable "indexFileWriteEnable": bool = true => Inert(why::INDEX);
        index_rocksdb_enable "indexRocksDBEnable": bool = false => Inert(why::ROCKSDB);
        /// SYNC_MASTER: logs that must have a message, this one among them, before its producer hears that it is stored. 1, the default as in the original, waits for no slave.
        in_sync_replicas "inSyncReplicas": i32 = 1 => Live;
        is_enable_batch_push "isEnableBatchPush": bool = false => Inert(why::NO_SETTER);
        iterator_when_use_rocksdb_consume_queue "iteratorWhenUseRocksdbConsumeQueue": bool = true => Inert(why::ROCKSDB);
        logical_disk_space_clean_forcibly_threshold "logicalDiskSpaceCleanForciblyThreshold": f64 = 0.8 => Inert(why::TUNING);
        logic_queue_force_swap_map_interval "logicQueueForceSwapMapInterval": i64 = 43_200_000 => Inert(why::TUNING);
        logic_queue_swap_map_interval "logicQueueSwapMapInterval": i64 = 3_600_000 => Inert(why::TUNING);
        logic_queue_swap_map_reserve_file_num "logicQueueSwapMapReserveFileNum": i32 = 20 => Inert(why::TUNING);
        maped_file_size_commit_log "mapedFileSizeCommitLog": i32 = 0 => Inert(why::OLD_SPELLING);
        maped_file_size_consume_queue "mapedFileSizeConsumeQueue": i32 = 0 => Inert(why::OLD_SPELLING);
        /// Bytes of one CommitLog file; must match the files that exist.
        mapped_file_size_commit_log "mappedFileSizeCommitLog": i32 = 1_073_741_824 => Restart;
        /// Bytes of one ConsumeQueue file; rounded up to a multiple of 20.
        mapped_file_size_consume_queue "mappedFileSizeConsumeQueue": i32 = 6_000_000 => Restart;
        mapped_file_size_consume_queue_ext "mappedFileSizeConsumeQueueExt": i32 = 50_331_648 => Inert(why::SQL_BITMAP);
        mapped_file_size_timer_log "mappedFileSizeTimerLog": i32 = 104_857_600 => Inert(why::TIMER);
        mapped_file_swap_enable "mappedFileSwapEnable": bool = true => Inert(why::TUNING);
        mapper_file_size_batch_consume_queue "mapperFileSizeBatchConsumeQueue": i32 = 13_800_000 => Inert(why::TUNING);
        max_async_put_message_requests "maxAsyncPutMessageRequests": i32 = 5000 => Inert(why::TUNING);
        max_batch_delete_files_num "maxBatchDeleteFilesNum": i32 = 50 => Inert(why::RATE);
        max_check_message_reuse_buffer_size "maxCheckMessageReuseBufferSize": i32 = 1_048_576 => Inert(why::RECOVERY);
        max_checksum_range "maxChecksumRange": i64 = 1_073_741_824 => Inert(why::RECOVERY);
        max_consume_queue_scan "maxConsumeQueueScan": i32 = 20_000 => Inert(why::TUNING);
        /// Messages a pull may pass over in search of one that its filter accepts.
        max_filter_message_size "maxFilterMessageSize": i32 = 16_000 => Live;
        /// Hash slots of one index file.
        max_hash_slot_num "maxHashSlotNum": i32 = 5_000_000 => Restart;
        /// With haFlowControlEnable: bytes that one slave is sent in a second, headers and log (the original counts headers alone).
        max_ha_transfer_byte_in_second "maxHaTransferByteInSecond": i64 = 104_857_600 => Live;
        /// Entries of one index file.
        max_index_num "maxIndexNum": i32 = 20_000_000 => Restart;
        max_lmq_consume_queue_num "maxLmqConsumeQueueNum": i32 = 20_000 => Inert(why::LITE);
        /// Bytes of a message, at most.
        max_message_size "maxMessageSize": i32 = 4_194_304 => Live;
        /// Messages of one query by key, at most.
        max_msgs_num_batch "maxMsgsNumBatch": i32 = 64 => Live;
        max_offset_map_size "maxOffsetMapSize": i32 = 104_857_600 => Inert(why::COMPACTION);
        max_recovery_commitlog_files "maxRecoveryCommitlogFiles": i32 = 30 => Inert(why::RECOVERY);
        max_rocksdb_index_query_days "maxRocksDBIndexQueryDays": i32 = 7 => Inert(why::ROCKSDB);
        max_slave_resend_length "maxSlaveResendLength": i64 = 268_435_456 => Inert(why::REPLICATION);
        max_topic_length "maxTopicLength": i32 = 127 => Inert(why::DEAD);
        /// Bytes of one pull answer from the disk, at most.
        max_transfer_bytes_on_message_in_disk "maxTransferBytesOnMessageInDisk": i32 = 65_536 => Live;
        /// Bytes of one pull answer from memory, at most.
        max_transfer_bytes_on_message_in_memory "maxTransferBytesOnMessageInMemory": i32 = 262_144 => Live;
        /// Messages of one pull answer from the disk, at most.
        max_transfer_count_on_message_in_disk "maxTransferCountOnMessageInDisk": i32 = 8 => Live;
        /// Messages of one pull answer from memory, at most.
        max_transfer_count_on_message_in_memory "maxTransferCountOnMessageInMemory": i32 = 32 => Live;
        mem_table_flush_interval_ms "memTableFlushIntervalMs": i64 = 3_600_000 => Inert(why::ROCKSDB);
        /// The delay levels; changing them moves messages that wait already.
        message_delay_level "messageDelayLevel": String = text("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h") => Restart;
        /// Index messages by key.
        message_index_enable "messageIndexEnable": bool = true => Live;
        message_index_safe "messageIndexSafe": bool = false => Inert(why::RECOVERY);
        /// With enableAutoInSyncReplicas: logs that must have a message whatever is in sync.
        min_in_sync_replicas "minInSyncReplicas": i32 = 1 => Live;
        /// Let a slave correct the offset of a consumer that asks for one that it does not have; otherwise the master does.
        offset_check_in_slave "offsetCheckInSlave": bool = false => Live;
        /// Milliseconds of one append after which sends are refused as busy.
        os_page_cache_busy_time_out_mills "osPageCacheBusyTimeOutMills": i64 = 1000 => Live;
        pop_rocksdb_block_cache_size "popRocksdbBlockCacheSize": i64 = 268_435_456 => Inert(why::ROCKSDB);
        pop_rocksdb_write_buffer_size "popRocksdbWriteBufferSize": i64 = 33_554_432 => Inert(why::ROCKSDB);
        preferred_leader_id "preferredLeaderId": String = unset() => Inert(why::REPLICATION);
        pull_batch_max_message_count "pullBatchMaxMessageCount": i32 = 160 => Inert(why::TUNING);
        put_consume_queue_data_by_file_channel "putConsumeQueueDataByFileChannel": bool = true => Inert(why::TUNING);
        put_message_timeout "putMessageTimeout": i32 = 8000 => Inert(why::TUNING);
        put_msg_index_hight_water "putMsgIndexHightWater": i32 = 600_000 => Inert(why::INDEX);
        /// Directories (comma list) whose CommitLog files are read but never written.
        read_only_commit_log_store_paths "readOnlyCommitLogStorePaths": String = unset() => Restart;
        read_un_committed "readUnCommitted": bool = false => Inert(why::TUNING);
        real_time_persist_rocksdb_config "realTimePersistRocksDBConfig": bool = true => Inert(why::ROCKSDB);
        recheck_reput_offset_from_cq "recheckReputOffsetFromCq": bool = false => Inert(why::POP);
        redelete_hanged_file_interval "redeleteHangedFileInterval": i32 = 120_000 => Inert(why::TUNING);
        replicas_per_disk_partition "replicasPerDiskPartition": i32 = 1 => Inert(why::REPLICATION);
        rocksdb_compression_type "rocksdbCompressionType": String = text("lz4") => Inert(why::ROCKSDB);
        rocksdb_cq_double_write_enable "rocksdbCQDoubleWriteEnable": bool = false => Inert(why::ROCKSDB);
        rocksdb_cq_selective_double_write_enable "rocksdbCQSelectiveDoubleWriteEnable": bool = false => Inert(why::ROCKSDB);
        rocksdb_flush_wal_frequency "rocksdbFlushWalFrequency": i32 = 1024 => Inert(why::ROCKSDB);
        rocksdb_max_size_amplification_percent "rocksdbMaxSizeAmplificationPercent": i32 = 25 => Inert(why::ROCKSDB);
        rocksdb_wal_file_rolling_threshold "rocksdbWalFileRollingThreshold": i64 = 1_073_741_824 => Inert(why::ROCKSDB);
        sample_count_threshold "sampleCountThreshold": i32 = 5000 => Inert(why::TUNING);
        sample_steps "sampleSteps": i32 = 32 => Inert(why::TUNING);
        schedule_async_deliver_max_pending_limit "scheduleAsyncDeliverMaxPendingLimit": i32 = 2000 => Inert(why::SCHEDULE);
        schedule_async_deliver_max_resend_num2_blocked "scheduleAsyncDeliverMaxResendNum2Blocked": i32 = 3 => Inert(why::SCHEDULE);
        search_bcq_by_cache_enable "searchBcqByCacheEnable": bool = true => Inert(why::TUNING);
        shared_byte_buffer_num "sharedByteBufferNum": i32 = 16 => Inert(why::TUNING);
        /// SYNC_MASTER: milliseconds that a send waits for slaves, and is then answered FLUSH_SLAVE_TIMEOUT.
        slave_timeout "slaveTimeout": i32 = 3000 => Live;
        spin_lock_collision_retreat_optimal_degree "spinLockCollisionRetreatOptimalDegree": i32 = 1000 => Inert(why::TUNING);
        stat_rocksdb_cq_interval_sec "statRocksDBCQIntervalSec": i64 = 10 => Inert(why::ROCKSDB);
        store_path_broker_identity "storePathBrokerIdentity": String = unset() => Inert(why::REPLICATION);
        /// Directory of the CommitLog, or several separated by commas. Unset: commitlog below storePathRootDir.
        store_path_commit_log "storePathCommitLog": String = unset() => Restart;
        store_path_d_ledger_commit_log "storePathDLedgerCommitLog": String = unset() => Inert(why::REPLICATION);
        store_path_epoch_file "storePathEpochFile": String = unset() => Inert(why::REPLICATION);
        /// Directory of the store.
        store_path_root_dir "storePathRootDir": String = unset() => Restart;
        store_type "storeType": String = text("default") => Guarded("only default is served, because RocksDB ConsumeQueues are another format");
        /// SYNC_FLUSH: milliseconds after which a send is answered FLUSH_DISK_TIMEOUT.
        sync_flush_timeout "syncFlushTimeout": i32 = 5000 => Live;
        sync_from_last_file "syncFromLastFile": bool = false => Inert(why::REPLICATION);
        /// With enableSlaveActingMaster: a slave that was told nothing yet notes where its master's log ended at the start; only haStatus (907) shows it.
        sync_master_flush_offset_when_startup "syncMasterFlushOffsetWhenStartup": bool = false => Live;
        timer_check_metrics_when "timerCheckMetricsWhen": String = text("05") => Inert(why::NO_SETTER);
        timer_cold_data_check_interval_ms "timerColdDataCheckIntervalMs": i32 = 60_000 => Inert(why::COLD_DATA);
        timer_congest_num_each_slot "timerCongestNumEachSlot": i32 = i32::MAX => Inert(why::TIMER);
        timer_enable_check_metrics "timerEnableCheckMetrics": bool = true => Inert(why::TIMER);
        timer_enable_disruptor "timerEnableDisruptor": bool = false => Inert(why::NO_SETTER);
        timer_enable_retry_until_success "timerEnableRetryUntilSuccess": bool = false => Inert(why::TIMER);
        timer_flush_interval_ms "timerFlushIntervalMs": i32 = 1000 => Inert(why::TIMER);
        timer_get_message_thread_num "timerGetMessageThreadNum": i32 = 3 => Inert(why::TIMER);
        timer_intercept_delay_level "timerInterceptDelayLevel": bool = false => Inert(why::TIMER);
        timer_max_delay_sec "timerMaxDelaySec": i32 = 259_200 => Inert(why::TIMER);
        timer_metric_small_threshold "timerMetricSmallThreshold": i32 = 1_000_000 => Inert(why::TIMER);
        timer_precision_ms "timerPrecisionMs": i32 = 1000 => Inert(why::TIMER);
        timer_progress_log_interval_ms "timerProgressLogIntervalMs": i32 = 10_000 => Inert(why::TIMER);
        timer_put_message_thread_num "timerPutMessageThreadNum": i32 = 3 => Inert(why::TIMER);
        timer_recall_to_timeline_enable "timerRecallToTimelineEnable": bool = true => Inert(why::TIMER);
        timer_recall_to_time_wheel_enable "timerRecallToTimeWheelEnable": bool = true => Inert(why::TIMER);
        timer_reput_service_core_pool_size "timerReputServiceCorePoolSize": i32 = 6 => Inert(why::TIMER);
        timer_reput_service_max_pool_size "timerReputServiceMaxPoolSize": i32 = 6 => Inert(why::TIMER);
        timer_reput_service_queue_capacity "timerReputServiceQueueCapacity": i32 = 10_000 => Inert(why::TIMER);
        timer_rocksdb_enable "timerRocksDBEnable": bool = false => Inert(why::ROCKSDB);
        timer_rocksdb_precision_ms "timerRocksDBPrecisionMs": i64 = 1000 => Inert(why::ROCKSDB);
        timer_rocksdb_roll_interval_hours "timerRocksDBRollIntervalHours": i32 = 1 => Inert(why::ROCKSDB);
        timer_rocksdb_roll_max_tps "timerRocksDBRollMaxTps": f64 = 8000.0 => Inert(why::ROCKSDB);
        timer_rocksdb_roll_range_hours "timerRocksDBRollRangeHours": i32 = 2 => Inert(why::ROCKSDB);
        timer_rocksdb_stop_scan "timerRocksDBStopScan": bool = false => Inert(why::ROCKSDB);
        timer_rocksdb_time_expired_max_tps "timerRocksDBTimeExpiredMaxTps": f64 = 200000.0 => Inert(why::ROCKSDB);
        timer_roll_window_slot "timerRollWindowSlot": i32 = 172_800 => Inert(why::TIMER);
        timer_skip_unknown_error "timerSkipUnknownError": bool = false => Inert(why::TIMER);
        timer_stop_dequeue "timerStopDequeue": bool = false => Inert(why::NO_SETTER);
        timer_stop_enqueue "timerStopEnqueue": bool = false => Inert(why::TIMER);
        timer_warm_enable "timerWarmEnable": bool = false => Inert(why::NO_SETTER);
        timer_wheel_enable "timerWheelEnable": bool = true => Inert(why::TIMER);
        timer_wheel_snapshot_flush "timerWheelSnapshotFlush": bool = false => Inert(why::TIMER);
        timer_wheel_snapshot_interval_ms "timerWheelSnapshotIntervalMs": i32 = 10_000 => Inert(why::TIMER);
        topic_queue_lock_num "topicQueueLockNum": i32 = 32 => Inert(why::TUNING);
        /// With enableSlaveActingMaster, above 1: before clients are told of this broker it hears from the others of its name, and a master takes back what was consumed at the slave that acted for it.
        total_replicas "totalReplicas": i32 = 1 => Restart;
        transient_store_pool_enable "transientStorePoolEnable": bool = false => Inert(why::TUNING);
        transient_store_pool_size "transientStorePoolSize": i32 = 5 => Inert(why::TUNING);
        trans_rocksdb_enable "transRocksDBEnable": bool = false => Inert(why::ROCKSDB);
        trans_write_origin_trans_half_enable "transWriteOriginTransHalfEnable": bool = true => Inert(why::ROCKSDB);
        travel_cq_file_num_when_get_message "travelCqFileNumWhenGetMessage": i32 = 1 => Inert(why::TUNING);
        use_abs_lock "useABSLock": bool = false => Inert(why::TUNING);
        use_reentrant_lock_when_put_message "useReentrantLockWhenPutMessage": bool = true => Inert(why::TUNING);
        use_separate_store_path_for_rocksdb_cq "useSeparateStorePathForRocksdbCQ": bool = false => Inert(why::ROCKSDB);
        wake_commit_when_put_message "wakeCommitWhenPutMessage": bool = true => Inert(why::TUNING);
        wake_flush_when_put_message "wakeFlushWhenPutMessage": bool = false => Inert(why::TUNING);
        warm_maped_file_enable "warmMapedFileEnable": bool = false => Inert(why::TUNING);
        write_without_mmap "writeWithoutMmap": bool = false => Inert(why::TUNING);

        // --- AuthConfig
        acl_cache_expired_second "aclCacheExpiredSecond": i32 = 600 => Inert(why::AUTH);
        acl_cache_max_num "aclCacheMaxNum": i32 = 1000 => Inert(why::AUTH);
        acl_cache_refresh_second "aclCacheRefreshSecond": i32 = 60 => Inert(why::AUTH);
        auth_config_path "authConfigPath": String = unset() => Inert(why::AUTH);
        authentication_enabled "authenticationEnabled": bool = false => Guarded("true is refused, because authentication is not there yet and ignoring it would leave the broker open");
        authentication_metadata_provider "authenticationMetadataProvider": String = unset() => Inert(why::AUTH);
        authentication_provider "authenticationProvider": String = unset() => Inert(why::AUTH);
        authentication_strategy "authenticationStrategy": String = unset() => Inert(why::AUTH);
        authentication_whitelist "authenticationWhitelist": String = unset() => Inert(why::AUTH);
        authorization_enabled "authorizationEnabled": bool = false => Guarded("true is refused, because authorization is not there yet and ignoring it would leave the broker open");
        authorization_metadata_provider "authorizationMetadataProvider": String = unset() => Inert(why::AUTH);
        authorization_provider "authorizationProvider": String = unset() => Inert(why::AUTH);
        authorization_strategy "authorizationStrategy": String = unset() => Inert(why::AUTH);
        authorization_whitelist "authorizationWhitelist": String = unset() => Inert(why::AUTH);
        cluster_name "clusterName": String = unset() => Inert(why::AUTH);
        config_name "configName": String = unset() => Inert(why::AUTH);
        init_authentication_user "initAuthenticationUser": String = unset() => Inert(why::AUTH);
        inner_client_authentication_credentials "innerClientAuthenticationCredentials": String = unset() => Inert(why::AUTH);
        migrate_auth_from_v1_enabled "migrateAuthFromV1Enabled": bool = false => Inert(why::AUTH);
        stateful_authentication_cache_expired_second "statefulAuthenticationCacheExpiredSecond": i32 = 60 => Inert(why::AUTH);
        stateful_authentication_cache_max_num "statefulAuthenticationCacheMaxNum": i32 = 10_000 => Inert(why::AUTH);
        stateful_authorization_cache_expired_second "statefulAuthorizationCacheExpiredSecond": i32 = 60 => Inert(why::AUTH);
        stateful_authorization_cache_max_num "statefulAuthorizationCacheMaxNum": i32 = 10_000 => Inert(why::AUTH);
        user_cache_expired_second "userCacheExpiredSecond": i32 = 600 => Inert(why::AUTH);
        user_cache_max_num "userCacheMaxNum": i32 = 1000 => Inert(why::AUTH);
        user_cache_refresh_second "userCacheRefreshSecond": i32 = 60 => Inert(why::AUTH);
    }
}
