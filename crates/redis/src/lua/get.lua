-- An entry, or else the right to load it; see cache.rs.
-- KEYS: the entry, the lease. ARGV: a fresh token, how long a lease stands (ms), how long before its end
-- an entry is refreshed (ms).
-- Answers {entry or false, what became of the lease}: 'given', 'taken' or 'none'.
local function lease()
    local done = redis.pcall('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
    if type(done) == 'table' and done.ok then
        return 'given'
    elseif done then
        return 'none' -- An error: there is no room for it.
    elseif redis.call('PTTL', KEYS[2]) < 0 then
        redis.call('DEL', KEYS[2]) -- One that would never end is not ours.
        return 'none'
    end
    return 'taken'
end

local entry = redis.pcall('GET', KEYS[1])
if type(entry) == 'table' then
    redis.call('DEL', KEYS[1]) -- Not a string: not ours.
    entry = false
end
if not entry then
    return { false, lease() }
end
local ahead = tonumber(ARGV[3])
if ahead > 0 and string.sub(entry, 1, 1) == 'V' and redis.call('PTTL', KEYS[1]) < ahead then
    return { entry, lease() }
end
return { entry, 'none' }
