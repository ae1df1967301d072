-- Puts an entry if its lease stands, and ends the lease.
-- KEYS: the entry, the lease. ARGV: the lease's token, the entry, its time to live (ms), how long a lease stands
-- (ms), how long the entry may live from when the lease was given (ms); zero for as long as it likes.
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
local ttl, longest = tonumber(ARGV[3]), tonumber(ARGV[5])
if longest > 0 then
    local age = tonumber(ARGV[4]) - redis.call('PTTL', KEYS[2])
    if age < 0 then
        age = longest -- The clock of Redis was set back: nobody knows how old the lease is.
    end
    ttl = math.min(ttl, longest - age)
end
-- The lease ends even if there is no room for the entry, or no time: others must not wait for it.
local done = 0
if ttl > 0 then
    done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ttl)
end
redis.call('DEL', KEYS[2])
return done
