// SPDX-License-Identifier: Apache-2.0
//! The keys of `namesrv.conf`, with the defaults of 5.5.0.

use super::Standing::{Inert, Live, Restart};
use super::declare::config;
use super::value::{text, unset};
use super::{refuse_namesrv, why};

config! {
    /// A name server's configuration. A text that is unset is empty.
    pub struct NamesrvConfig, black list ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"], refusal refuse_namesrv {
        // --- of this server alone

        /// Which address each network is given for a broker of this process, as in broker.conf.
        advertise "advertise": String = unset() => Restart;
        /// Memory for what all connections of this process hold together; at least 16777216. 0: a quarter of what the process may use.
        memory_budget_bytes "memoryBudgetBytes": i64 = 0 => Restart;

        // --- NamesrvConfig
        client_request_thread_pool_nums "clientRequestThreadPoolNums": i32 = 8 => Inert(why::POOLS);
        client_request_thread_pool_queue_capacity "clientRequestThreadPoolQueueCapacity": i32 = 50_000 => Inert(why::POOLS);
        cluster_test "clusterTest": bool = false => Inert(why::LOOKUP);
        /// Keys (semicolons between) that updateNamesrvConfig refuses.
        config_black_list "configBlackList": String = text("configBlackList;configStorePath;kvConfigPath") => Live;
        /// Where updateNamesrvConfig writes; the file given by -c, else namesrv/namesrv.properties in the home directory.
        config_store_path "configStorePath": String = unset() => Restart;
        default_thread_pool_nums "defaultThreadPoolNums": i32 = 16 => Inert(why::POOLS);
        default_thread_pool_queue_capacity "defaultThreadPoolQueueCapacity": i32 = 10_000 => Inert(why::POOLS);
        /// Drop the topics that a registration no longer names.
        delete_topic_with_broker_registration "deleteTopicWithBrokerRegistration": bool = false => Live;
        /// Answer requests for all topics (206).
        enable_all_topic_list "enableAllTopicList": bool = true => Live;
        enable_controller_in_namesrv "enableControllerInNamesrv": bool = false => Inert(why::REPLICATION);
        /// Answer requests for the topics of a cluster (224) and for unit topics (311 to 313).
        enable_topic_list "enableTopicList": bool = true => Live;
        /// The file of the key-value configuration; namesrv/kvConfig.json in the home directory when unset.
        kv_config_path "kvConfigPath": String = unset() => Restart;
        /// Refuse route requests in the first seconds after the start, until brokers have registered.
        need_wait_for_service "needWaitForService": bool = false => Restart;
        /// Tell the brokers of a set when its smallest id changes.
        notify_min_broker_id_changed "notifyMinBrokerIdChanged": bool = false => Live;
        /// Add the ordered-topic configuration to routes.
        order_message_enable "orderMessageEnable": bool = false => Live;
        product_env_name "productEnvName": String = text("center") => Inert(why::LOOKUP);
        /// Answer registrations with the ordered-topic configuration.
        return_order_topic_config_to_broker "returnOrderTopicConfigToBroker": bool = true => Live;
        /// Where the original keeps its scripts; nothing is read from there.
        rocketmq_home "rocketmqHome": String = unset() => Restart;
        /// Milliseconds between two looks for brokers that have gone silent.
        scan_not_active_broker_interval "scanNotActiveBrokerInterval": i64 = 5000 => Restart;
        /// Show the slave with the smallest id as master when a broker set allows it and has lost its master.
        support_acting_master "supportActingMaster": bool = false => Live;
        un_register_broker_queue_capacity "unRegisterBrokerQueueCapacity": i32 = 3000 => Inert(why::POOLS);
        /// For how many seconds needWaitForService refuses.
        wait_seconds_for_service "waitSecondsForService": i32 = 45 => Restart;

        // --- NettyServerConfig
        /// The local address to listen on; 0.0.0.0 is every address, IPv6 too.
        bind_address "bindAddress": String = text("0.0.0.0") => Restart;
        enable_shutdown_gracefully "enableShutdownGracefully": bool = false => Inert(why::NETTY);
        /// The port for clients. 0 picks a free one and says which.
        listen_port "listenPort": i32 = 9876 => Restart;
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
    }
}
