--[[ Tries every command that the notifier needs, on every kind of key that it has, and leaves nothing behind.

KEYS[1..10]  meta, lease, state, names, alerts, silences, durations (hashes), history, inbox, attempts (streams):
             only what changes nothing
KEYS[11..15] sink (hash), lanes, claims (zsets), lane (list), dead (stream) of a sink that cannot be: everything

A right that is missing, a command that was renamed, or a key that is somebody else's ends it with an error. ]]

for at = 1, 7 do redis.call('HDEL', KEYS[at], '~trial') end
for at = 8, 10 do redis.call('XDEL', KEYS[at], '0-1') end

local hash, zset, claims, list, stream = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
try(function() return {'DEL', hash, zset, claims, list, stream} end, 'DEL', hash, zset, claims, list, stream)
try(nil, 'HSET', hash, 'f', '1')
try(nil, 'HSETNX', hash, 'g', '1')
try(nil, 'HINCRBY', hash, 'f', 1)
try(nil, 'HEXISTS', hash, 'f')
try(nil, 'HGET', hash, 'f')
try(nil, 'HMGET', hash, 'f')
try(nil, 'HGETALL', hash)
try(nil, 'HSCAN', hash, 0)
try(nil, 'HLEN', hash)
try(nil, 'HDEL', hash, 'g')
try(nil, 'ZADD', zset, 1, 'm')
try(nil, 'ZADD', zset, 'NX', 1, 'm')
try(nil, 'ZADD', claims, 1, 'm')
try(nil, 'ZCARD', zset)
try(nil, 'ZSCORE', zset, 'm')
try(nil, 'ZRANGE', zset, 0, 0, 'WITHSCORES')
try(nil, 'ZRANGEBYSCORE', zset, 0, 2, 'LIMIT', 0, 1)
try(nil, 'ZREM', zset, 'm')
try(nil, 'RPUSH', list, 'a', 'b', 'c')
try(nil, 'LLEN', list)
try(nil, 'LINDEX', list, 0)
try(nil, 'LSET', list, 0, 'd')
try(nil, 'LPOP', list)
try(nil, 'RPOP', list)
local id = try(nil, 'XADD', stream, '*', 'f', '1')
try(nil, 'XLEN', stream)
try(nil, 'XRANGE', stream, '-', '+', 'COUNT', 1)
try(nil, 'XREVRANGE', stream, '+', '-', 'COUNT', 1)
try(nil, 'XTRIM', stream, 'MINID', '~', '0')
try(nil, 'XDEL', stream, id)
try(nil, 'SCAN', 0, 'COUNT', 1)
return try(nil, 'DEL', hash, zset, claims, list, stream)
