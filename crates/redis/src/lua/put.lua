-- Puts an entry if its lease stands, and ends the lease.
-- KEYS: the entry, the lease. ARGV: the lease's token, the entry, its time to live (ms).
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
-- The lease ends even if there is no room for the entry: others must not wait for it.
local done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return done
