--[[ Tries every command that the notifier needs, on every kind of key that it has, and leaves nothing behind.

KEYS[1..7]  meta, lease, state, names (hashes), history, inbox, attempts (streams): only what changes nothing
KEYS[8..11] sink (hash), lanes (zset), lane (list), dead (stream) of a sink that cannot be: everything

A right that is missing, a command that was renamed, or a key that is somebody else's ends it with an error. ]]

for at = 1, 4 do redis.call('HDEL', KEYS[at], '~trial') end
for at = 5, 7 do redis.call('XDEL', KEYS[at], '0-1') end

local hash, zset, list, stream = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
redis.call('HSET', hash, 'f', '1')
redis.call('HSETNX', hash, 'g', '1')
redis.call('HINCRBY', hash, 'f', 1)
redis.call('HEXISTS', hash, 'f')
redis.call('HGET', hash, 'f')
redis.call('HMGET', hash, 'f')
redis.call('HGETALL', hash)
redis.call('HSCAN', hash, 0)
redis.call('HLEN', hash)
redis.call('HDEL', hash, 'g')
redis.call('ZADD', zset, 1, 'm')
redis.call('ZADD', zset, 'NX', 1, 'm')
redis.call('ZCARD', zset)
redis.call('ZSCORE', zset, 'm')
redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
redis.call('ZRANGEBYSCORE', zset, 0, 2, 'LIMIT', 0, 1)
redis.call('ZREM', zset, 'm')
redis.call('RPUSH', list, 'a', 'b', 'c')
redis.call('LLEN', list)
redis.call('LINDEX', list, 0)
redis.call('LSET', list, 0, 'd')
redis.call('LPOP', list)
redis.call('RPOP', list)
local id = redis.call('XADD', stream, '*', 'f', '1')
redis.call('XLEN', stream)
redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
redis.call('XTRIM', stream, 'MINID', '~', '0')
redis.call('XDEL', stream, id)
redis.call('SCAN', 0, 'COUNT', 1)
return redis.call('DEL', hash, zset, list, stream)
